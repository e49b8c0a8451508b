# A memcached server that speaks TLS only, on the host's own address.
{%- from "memcached/map.jinja" import memcached with context %}
{%- from "saltern/host.jinja" import host with context %}
{%- set server = memcached.server %}
{%- if server.enabled %}
memcached-server-package:
  pkg.installed:
    - name: {{ server.package }}

memcached-server-tls-group:
  group.present:
    - name: {{ server.tls.group }}
    - system: True
    - addusers: [{{ server.user }}]
    - require:
      - pkg: memcached-server-package

memcached-server-unit:
  file.managed:
    - name: /etc/systemd/system/{{ server.unit }}.service.d/saltern.conf
    - source: salt://memcached/files/unit.conf.jinja
    - template: jinja
    - context:
        server: {{ server | json }}
        address: {{ server.bind or host.address }}
    - user: root
    - group: root
    - mode: "0644"
    - makedirs: True

memcached-server-reload:
  module.run:
    - service.systemctl_reload: []
    - onchanges:
      - file: memcached-server-unit

memcached-server-service:
  service.running:
    - name: {{ server.unit }}
    - enable: True
    - require:
      - group: memcached-server-tls-group
      - module: memcached-server-reload
    - watch:
      - file: memcached-server-unit
{%- else %}
memcached-server-service:
  service.dead:
    - name: {{ server.unit }}
    - enable: False
{%- endif %}
