{%- include "saltern/guard.jinja" %}
include:
  - placement.server
