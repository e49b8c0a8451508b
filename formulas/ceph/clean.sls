# Takes the daemons of this host out of service and removes their configuration; packages, the
# monitor's store and the object stores stay.
{%- from "ceph/map.jinja" import ceph with context %}
{%- from "saltern/host.jinja" import host with context %}
ceph-clean-services:
  service.dead:
    - names:
      - ceph-radosgw@rgw
      - ceph-mds@{{ host.name }}
      - ceph-osd.target
      - ceph-mgr@{{ host.name }}
      - ceph-mon@{{ host.name }}
    - enable: False

ceph-clean-files:
  file.absent:
    - names:
      - /etc/ceph/ceph.conf
      - /etc/ceph/ceph.client.admin.keyring
      - /etc/ceph/ceph.client.saltern.keyring
      - /etc/ceph/rgw.password
      - /etc/ceph/s3.probe.json
      {%- for name in ceph.client.keyring | sort %}
      - /etc/ceph/ceph.{{ name }}.keyring
      {%- endfor %}
      {%- for kind in ["mon", "mgr", "osd", "mds"] %}
      - /etc/systemd/system/ceph-{{ kind }}@.service.d/starts.conf
      {%- endfor %}
      - /etc/systemd/system/ceph-osd@.service.d/saltern.conf
      - /etc/systemd/system/ceph-radosgw@.service.d/saltern.conf
      - /usr/local/sbin/ceph-osd-devices
    - require:
      - service: ceph-clean-services

ceph-clean-reload:
  module.run:
    - service.systemctl_reload: []
    - onchanges:
      - file: ceph-clean-files
