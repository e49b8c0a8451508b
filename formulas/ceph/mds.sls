# A metadata server of CephFS: one per file system is active, the others stand by.
{%- from "ceph/map.jinja" import ceph with context %}
{%- from "saltern/host.jinja" import host with context %}
{%- set mds = ceph.mds %}
{%- if mds.enabled %}

ceph-mds-packages:
  pkg.installed:
    - pkgs: {{ mds.packages | json }}

ceph-mds-directory:
  file.directory:
    - name: /var/lib/ceph/mds/ceph-{{ host.name }}
    - user: ceph
    - group: ceph
    - mode: "0750"
    - require:
      - pkg: ceph-mds-packages

ceph-mds-key:
  file.managed:
    - name: /var/lib/ceph/mds/ceph-{{ host.name }}/keyring
    - source: salt://ceph/files/keyring.jinja
    - template: jinja
    - context:
        entity: mds.{{ host.name }}
        key: {{ mds.key | json }}
    - user: ceph
    - group: ceph
    - mode: "0600"
    - show_changes: False
    - require:
      - file: ceph-mds-directory

ceph-mds-running:
  service.running:
    - names: [ceph-mds.target, ceph-mds@{{ host.name }}]
    - enable: True
    - require:
      - file: ceph-mds-key
{%- else %}

ceph-mds-disabled:
  service.dead:
    - name: ceph-mds@{{ host.name }}
    - enable: False
{%- endif %}
