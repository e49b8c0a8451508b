{%- include "saltern/guard.jinja" %}
include:
  - memcached.server
