{%- include "saltern/guard.jinja" %}
include:
  - rabbitmq.server
