{%- include "saltern/guard.jinja" %}
{#- all roles of Nova that the pillar has, in the order in which they need each other -#}
include:
  - nova.common
{%- for role in ["database", "conductor", "scheduler", "api", "metadata", "novncproxy", "compute"] if role in pillar.get("nova", {}) %}
  - nova.{{ role }}
{%- endfor %}
