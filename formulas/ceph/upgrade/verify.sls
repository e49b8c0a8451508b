# The daemons whose turn it was run what is installed.
{%- include "saltern/guard.jinja" %}
ceph-upgrade-verify:
  ceph_upgrade.current:
    - name: daemons of this host
    - retry: {attempts: 10, interval: 3}
