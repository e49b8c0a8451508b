# Takes the roles of this host out of service and removes their configuration; packages and databases
# stay, and so does the integration bridge.
{%- from "ovn/map.jinja" import ovn with context %}
ovn-clean-services:
  service.dead:
    - names:
      - ovn-controller
      - {{ ovn.host.unit }}
      - ovn-northd
      - ovn-ovsdb-server-sb
      - ovn-ovsdb-server-nb
      - {{ ovn.central.unit }}
    - enable: False

ovn-clean-files:
  file.absent:
    - names:
      - /etc/ovn/central.json
      - /etc/ovn/host.json
      - /etc/systemd/system/ovn-northd.service.d/saltern.conf
      # those of the databases stay: without them a database of its own would begin at the next boot
    - require:
      - service: ovn-clean-services

ovn-clean-reload:
  module.run:
    - service.systemctl_reload: []
    - onchanges:
      - file: ovn-clean-files
