# all roles of this formula that the pillar enables
{%- include "saltern/guard.jinja" %}
include:
  - openstack.resources
