{%- from "neutron/map.jinja" import here with context %}
{#- all roles of Neutron that this host has -#}
include:
{%- for role in here %}
  - neutron.{{ role }}
{%- else %} []
{%- endfor %}
