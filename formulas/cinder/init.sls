{%- include "saltern/guard.jinja" %}
{#- all roles of Cinder that the pillar has, in the order in which they need each other -#}
include:
  - cinder.common
{%- for role in ["api", "scheduler", "volume", "backup"] if role in pillar.get("cinder", {}) %}
  - cinder.{{ role }}
{%- endfor %}
