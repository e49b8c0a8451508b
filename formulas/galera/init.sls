{%- include "saltern/guard.jinja" %}
include:
  - galera.server
  - galera.database
