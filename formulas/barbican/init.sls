{%- include "saltern/guard.jinja" %}
include:
  - barbican.server
