{%- include "saltern/guard.jinja" %}
include:
  - glance.server
