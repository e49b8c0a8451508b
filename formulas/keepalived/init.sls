{%- include "saltern/guard.jinja" %}
include:
  - keepalived.vrrp
