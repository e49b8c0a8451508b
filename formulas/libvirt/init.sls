{%- include "saltern/guard.jinja" %}
include:
  - libvirt.server
