{%- include "saltern/guard.jinja" %}
include:
  - heat.server
