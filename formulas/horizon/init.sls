{%- include "saltern/guard.jinja" %}
include:
  - horizon.server
