# One virtual address, held by one of the hosts that carry the role.
{%- from "keepalived/map.jinja" import keepalived, pinned with context %}
{%- from "saltern/host.jinja" import host, topology with context %}
{%- import "saltern/packages.jinja" as apt %}
{%- set vrrp = keepalived.vrrp %}
{%- set members = topology.get("roles", {}).get(vrrp.role, [host.fqdn]) | sort %}
{%- set peers = [] %}
{%- for id in members if id != host.fqdn %}
{%- do peers.append(topology.nodes[id].address) %}
{%- endfor %}
{%- set carriers = [] %}
{%- for name, addresses in grains.get("ip4_interfaces", {}).items() if host.address in addresses %}
{%- do carriers.append(name) %}
{%- endfor %}
{%- set interface = vrrp.interface or (carriers | first | default("eth0")) %}
{%- if vrrp.enabled %}
{{- apt.pin("keepalived-vrrp", "keepalived", pinned, vrrp.version) }}

keepalived-vrrp-package:
  pkg.installed:
    - name: {{ vrrp.package }}
{%- if vrrp.check %}

keepalived-vrrp-group:
  group.present:
    - name: {{ vrrp.check.group }}
    - system: True
{%- endif %}

keepalived-vrrp-user:
  user.present:
    - name: {{ vrrp.script_user }}
    - system: True
    - usergroup: True
    - home: /nonexistent
    - createhome: False
    - shell: /usr/sbin/nologin
{%- if vrrp.check %}

keepalived-vrrp-script:
  file.managed:
    - name: {{ vrrp.libexec }}/check-haproxy
    - source: salt://keepalived/files/check-haproxy.py.jinja
    - template: jinja
    - context:
        check: {{ vrrp.check | json }}
    - user: root
    - group: root
    - mode: "0755"
    - makedirs: True
    - require:
      - group: keepalived-vrrp-group
    - require_in:
      - file: keepalived-vrrp-config
{%- endif %}

keepalived-vrrp-validator:
  file.managed:
    - name: {{ vrrp.libexec }}/check-keepalived
    - source: salt://keepalived/files/check-config.sh
    - user: root
    - group: root
    - mode: "0755"
    - makedirs: True

keepalived-vrrp-config:
  file.managed:
    - name: /etc/keepalived/keepalived.conf
    - source: salt://keepalived/files/keepalived.conf.jinja
    - template: jinja
    - context:
        vrrp: {{ vrrp | json }}
        host: {{ host | json }}
        interface: {{ interface }}
        priority: {{ 200 - members.index(host.fqdn) }}
        peers: {{ peers | json }}
    - user: root
    - group: root
    - mode: "0640"
    - show_changes: False
    - check_cmd: {{ vrrp.libexec }}/check-keepalived
    - require:
      - pkg: keepalived-vrrp-package
      - user: keepalived-vrrp-user
      - file: keepalived-vrrp-validator

keepalived-vrrp-service:
  service.running:
    - name: {{ vrrp.unit }}
    - enable: True
    - reload: True
    - watch:
      - file: keepalived-vrrp-config
{%- else %}
keepalived-vrrp-service:
  service.dead:
    - name: {{ vrrp.unit }}
    - enable: False
{%- endif %}
