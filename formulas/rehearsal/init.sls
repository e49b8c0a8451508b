{%- include "saltern/guard.jinja" %}
include:
  - rehearsal.shadow
