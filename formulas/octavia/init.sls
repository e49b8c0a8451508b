{%- include "saltern/guard.jinja" %}
include:
  - octavia.server
