{%- include "saltern/guard.jinja" %}
{%- set told = pillar.get("backup", {}) %}
include:
{%- for role in ["server", "client", "scheduler"] if role in told %}
  - backup.{{ role }}
{%- else %}
  - backup.client
{%- endfor %}
