{%- include "saltern/guard.jinja" %}
{#- all roles of Ironic that the pillar has, in the order in which they need each other -#}
include:
  - ironic.common
{%- for role in ["api", "conductor"] if role in pillar.get("ironic", {}) %}
  - ironic.{{ role }}
{%- endfor %}
