{%- include "saltern/guard.jinja" %}
include:
  - openvswitch.switch
