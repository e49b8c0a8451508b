# all roles of this formula that the pillar has, in the order in which they need each other
{%- include "saltern/guard.jinja" %}
include:
  - openstack.client
{%- for role in ["identity", "resources"] if role in pillar.get("openstack", {}) %}
  - openstack.{{ role }}
{%- endfor %}
