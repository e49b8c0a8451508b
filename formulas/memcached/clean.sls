# Takes memcached out of service and removes its configuration; the package stays.
{%- from "memcached/map.jinja" import memcached with context %}
{%- set server = memcached.server %}
memcached-clean-service:
  service.dead:
    - name: {{ server.unit }}
    - enable: False

memcached-clean-files:
  file.absent:
    - names:
      - /etc/systemd/system/{{ server.unit }}.service.d/memcached.conf
      - /etc/memcached.certificate.sha256
    - require:
      - service: memcached-clean-service

memcached-clean-reload:
  module.run:
    - service.systemctl_reload: []
    - onchanges:
      - file: memcached-clean-files
