# cinder-backup: copies volumes to a store of their own. It opens them by itself, so it needs what
# cinder-volume needs of their back ends.
{%- include "saltern/guard.jinja" %}
{%- from "cinder/lib.jinja" import cinder, volume with context %}
{%- import "cinder/lib.jinja" as lib with context %}
{%- set backup = cinder.backup %}
{%- if backup.enabled %}
{%- set stores = {
  "ceph": {
    "backup_driver": "cinder.backup.drivers.ceph.CephBackupDriver",
    "backup_ceph_conf": "/etc/ceph/ceph.conf",
    "backup_ceph_pool": backup.get("pool"),
    "backup_ceph_user": backup.get("user"),
  },
  "nfs": {
    "backup_driver": "cinder.backup.drivers.nfs.NFSBackupDriver",
    "backup_share": backup.get("share"),
    "backup_mount_point_base": "/var/lib/cinder/backup",
  },
  "swift": {
    "backup_driver": "cinder.backup.drivers.swift.SwiftBackupDriver",
    "backup_swift_auth": "per_user",
    "backup_swift_ca_cert_file": cinder.common.identity.ca,
    "swift_catalog_info": "object-store:swift:internalURL",
    "keystone_catalog_info": "identity:keystone:internalURL",
  },
  "posix": {
    "backup_driver": "cinder.backup.drivers.posix.PosixBackupDriver",
    "backup_posix_path": backup.get("directory"),
  },
} %}
{%- set directory = {"posix": backup.get("directory"), "nfs": "/var/lib/cinder/backup"}.get(backup.engine) %}
{%- if directory %}
cinder-backup-directory:
  file.directory:
    - name: {{ directory }}
    - user: cinder
    - group: cinder
    - mode: "0750"
    - makedirs: True
    - require_in:
      - service: cinder-backup-service
{% endif %}
{{ lib.config("backup", {"DEFAULT": stores[backup.engine]}) }}
{{ lib.helpers("backup", [backup.engine]) }}
{{ lib.daemon("backup", "OpenStack Block Storage backups (cinder)", privileged=true) }}
{%- else %}
{{ lib.stopped("backup") }}
{%- endif %}
