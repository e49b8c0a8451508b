{%- include "saltern/guard.jinja" %}
include:
  - nginx.server
