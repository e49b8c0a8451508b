{%- include "saltern/guard.jinja" %}
{#- all roles of Designate that the pillar has, in the order in which they need each other -#}
include:
  - designate.common
{%- for role in ["central", "api", "producer", "mdns", "worker"] if role in pillar.get("designate", {}) %}
  - designate.{{ role }}
{%- endfor %}
