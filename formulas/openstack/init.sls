# all roles of this formula that the pillar enables
include:
  - openstack.resources
