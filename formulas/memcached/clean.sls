# Stops memcached and removes its configuration; the package stays.
{%- from "memcached/map.jinja" import memcached with context %}
memcached-clean-service:
  service.dead:
    - name: {{ memcached.server.unit }}
    - enable: False

memcached-clean-unit:
  file.absent:
    - name: /etc/systemd/system/{{ memcached.server.unit }}.service.d/saltern.conf
    - require:
      - service: memcached-clean-service

memcached-clean-reload:
  module.run:
    - service.systemctl_reload: []
    - onchanges:
      - file: memcached-clean-unit
