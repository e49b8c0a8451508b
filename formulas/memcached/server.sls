# memcached that speaks TLS only, on the host's own address.
{%- from "memcached/map.jinja" import memcached, pinned with context %}
{%- from "saltern/host.jinja" import host with context %}
{%- import "saltern/packages.jinja" as apt %}
{%- set server = memcached.server %}
{%- if server.enabled %}
{{- apt.pin("memcached-server", "memcached", pinned, server.version) }}

memcached-server-package:
  pkg.installed:
    - pkgs: {{ server.packages | json }}

memcached-server-tls-group:
  group.present:
    - name: {{ server.tls_group }}
    - system: True

memcached-server-config:
  file.managed:
    - name: /etc/memcached.conf
    - contents:
      - "# Managed by Salt. Not read: the options are in the unit, which starts the program without"
      - "# root. See systemctl cat {{ server.unit }}."
    - user: root
    - group: root
    - mode: "0644"
    - require:
      - pkg: memcached-server-package

memcached-server-unit:
  file.managed:
    - name: /etc/systemd/system/{{ server.unit }}.service.d/memcached.conf
    - source: salt://memcached/files/memcached.conf.jinja
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

memcached-server-certificate:
  pki_host.stamp:
    - name: /etc/memcached.certificate.sha256

memcached-server-running:
  service.running:
    - name: {{ server.unit }}
    - enable: True
    - require:
      - pkg: memcached-server-package
      - group: memcached-server-tls-group
      - module: memcached-server-reload
    - watch:
      - file: memcached-server-unit
      - pki_host: memcached-server-certificate
{%- else %}
memcached-server-disabled:
  service.dead:
    - name: {{ server.unit }}
    - enable: False
{%- endif %}
