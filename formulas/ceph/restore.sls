# This host's monitor from a bundle, which the call names; docs/how-to/ceph-backup.md has the steps:
#   state.apply ceph.restore pillar='{bundle: /var/backups/ceph/…, newest_map: 57}'
{%- include "saltern/guard.jinja" %}
{%- if pillar.get("bundle") and pillar.get("newest_map") is not none and "newest_map" in pillar %}
ceph-restore-bundle:
  ceph_backup.restored:
    - name: {{ pillar["bundle"] | json }}
    - newest_map: {{ pillar["newest_map"] | int }}
    - replace: {{ pillar.get("replace", false) | json }}
{%- else %}
ceph-restore-nothing:
  test.fail_without_changes:
    - name: >-
        Nothing says what to restore. Give pillar='{bundle: PATH, newest_map: NUMBER}'; the number
        is the highest that ceph_rescue.newest gives on hosts of object stores.
    - failhard: True
{%- endif %}
