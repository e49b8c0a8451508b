# A bundle of this host's monitor, which stops for some seconds; the others must be a majority.
{%- from "ceph/map.jinja" import ceph with context %}
{%- set backup = ceph.mon.backup %}
ceph-backup-directory:
  file.directory:
    - name: {{ backup.directory }}
    - user: root
    - group: root
    - mode: "0700"
    - makedirs: True

ceph-backup-bundle:
  ceph_backup.taken:
    - name: {{ backup.directory }}
    - keep: {{ backup.keep }}
    - interrupt: {{ backup.interrupt }}
    - require:
      - file: ceph-backup-directory
