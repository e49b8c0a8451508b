# Starts what was stopped, and looks whether it is what is installed now: a plan's wave ends with the
# health checks of the roles, which know nothing of versions.
include:
  - ceph.upgrade.verify
{%- include "saltern/guard.jinja" %}
ceph-upgrade-start:
  ceph_upgrade.started:
    - name: daemons of this host
    - require_in:
      - ceph_upgrade: ceph-upgrade-verify
