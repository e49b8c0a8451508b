# Stops Open vSwitch, and with it the network of everything on its bridges; the packages and the
# database, which knows the bridges, stay.
{%- from "openvswitch/map.jinja" import openvswitch with context %}
openvswitch-clean-service:
  service.dead:
    - names: [openvswitch-access, {{ openvswitch.switch.unit }}, ovs-vswitchd, ovsdb-server]
    - enable: False

openvswitch-clean-files:
  file.absent:
    - names:
      - /etc/systemd/system/ovs-vswitchd.service.d/saltern.conf
      - /etc/systemd/system/openvswitch-access.service
    - require:
      - service: openvswitch-clean-service

openvswitch-clean-reload:
  module.run:
    - service.systemctl_reload: []
    - onchanges:
      - file: openvswitch-clean-files
