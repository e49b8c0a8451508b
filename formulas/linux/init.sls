{%- include "saltern/guard.jinja" %}
include:
  - linux.system
