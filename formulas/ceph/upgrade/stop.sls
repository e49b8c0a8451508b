# Stops the daemons whose turn has come: monitors, managers, object stores, metadata servers and
# gateways, each kind when all of the kind before it are replaced.
{%- include "saltern/guard.jinja" %}
ceph-upgrade-stop:
  ceph_upgrade.stopped:
    - name: daemons that have their turn
