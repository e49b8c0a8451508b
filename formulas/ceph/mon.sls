# The monitor of this host. One that was never made stays so: salt-run ceph.form asks all hosts and
# has it made, so a cluster begins exactly once.
{%- from "ceph/map.jinja" import ceph with context %}
{%- from "saltern/host.jinja" import host with context %}
{%- set mon = ceph.mon %}
{%- if mon.enabled and not (mon.key and mon.admin_key) %}

ceph-mon-keys:
  test.fail_without_changes:
    - name: >-
        ceph:mon:key or ceph:mon:admin_key is missing. Give them in the model, as references to
        secrets.
    - failhard: True
{%- elif mon.enabled %}

ceph-mon-packages:
  pkg.installed:
    - pkgs: {{ mon.packages | json }}

ceph-mon-admin:
  file.managed:
    - name: /etc/ceph/ceph.client.admin.keyring
    - source: salt://ceph/files/keyring.jinja
    - template: jinja
    - context:
        entity: client.admin
        key: {{ mon.admin_key | json }}
    - user: root
    - group: root
    - mode: "0600"
    - show_changes: False
    - require:
      - pkg: ceph-mon-packages

ceph-mon-running:
  ceph_monitor.running:
    - name: {{ host.name }}
    - address: {{ mon.address or host.address }}
    - standalone: {{ mon.standalone }}
    - require:
      - file: ceph-mon-admin
{%- else %}

ceph-mon-disabled:
  service.dead:
    - name: ceph-mon@{{ host.name }}
    - enable: False
{%- endif %}
