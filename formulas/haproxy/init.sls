{%- include "saltern/guard.jinja" %}
include:
  - haproxy.proxy
