{%- include "saltern/guard.jinja" %}
include:
  - tempest.client
