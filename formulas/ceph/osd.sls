# The object stores of this host, one daemon per device. A store is never unmade here.
{%- from "ceph/map.jinja" import ceph with context %}
{%- set osd = ceph.osd %}
{%- if osd.enabled %}

ceph-osd-packages:
  pkg.installed:
    - pkgs: {{ osd.packages | json }}

# what this host may ask of the cluster and do for its own stores
ceph-osd-key:
  file.managed:
    - name: /etc/ceph/ceph.client.saltern.keyring
    - source: salt://ceph/files/keyring.jinja
    - template: jinja
    - context:
        entity: client.saltern
        key: {{ osd.key | json }}
    - user: root
    - group: root
    - mode: "0600"
    - show_changes: False
    - require:
      - pkg: ceph-osd-packages

ceph-osd-devices:
  file.managed:
    - name: /usr/local/sbin/ceph-osd-devices
    - source: salt://ceph/files/ceph-osd-devices
    - user: root
    - group: root
    - mode: "0755"

ceph-osd-unit:
  file.managed:
    - name: /etc/systemd/system/ceph-osd@.service.d/saltern.conf
    - contents:
      - "# Managed by Salt: local changes are overwritten."
      - "[Service]"
      - ExecStartPre=+/usr/local/sbin/ceph-osd-devices %i
    - user: root
    - group: root
    - mode: "0644"
    - makedirs: True
    - require:
      - file: ceph-osd-devices

ceph-osd-reload:
  module.run:
    - service.systemctl_reload: []
    - onchanges:
      - file: ceph-osd-unit
{%- for device in osd.devices %}

ceph-osd-store-{{ loop.index }}:
  ceph_osd.present:
    - name: {{ device.path | json }}
    {%- for option in ["kind", "size", "db", "db_size", "wal", "wal_size", "weight", "encrypted"] if device.get(option) is not none and option in device %}
    - {{ option }}: {{ device[option] | json }}
    {%- endfor %}
    {%- if device.get("class") %}
    - device_class: {{ device["class"] }}
    {%- endif %}
    - require:
      - file: ceph-osd-key
      - module: ceph-osd-reload
{%- endfor %}

ceph-osd-location:
  ceph_crush.located:
    - name: {{ osd.crush.host }}
    - location: {{ osd.crush | json }}
    - require:
      - file: ceph-osd-key
      {%- for device in osd.devices %}
      - ceph_osd: ceph-osd-store-{{ loop.index }}
      {%- endfor %}
{%- else %}

ceph-osd-disabled:
  service.dead:
    - name: ceph-osd.target
    - enable: False
{%- endif %}
