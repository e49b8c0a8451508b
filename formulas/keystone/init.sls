{%- include "saltern/guard.jinja" %}
include:
  - keystone.server
