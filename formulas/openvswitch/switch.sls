# Open vSwitch: its settings and the bridges of the model. What others made there stays: patch ports
# and the integration bridge of OVN, taps of instances.
{%- from "openvswitch/map.jinja" import openvswitch with context %}
{%- set switch = openvswitch.switch %}
{%- if switch.enabled %}

openvswitch-switch-packages:
  pkg.installed:
    - pkgs: {{ switch.packages | json }}

# a device of a user space datapath is made anew with its daemon, and has lost what it was given
openvswitch-switch-unit:
  file.managed:
    - name: /etc/systemd/system/ovs-vswitchd.service.d/saltern.conf
    - source: salt://openvswitch/files/ovs-vswitchd.conf.jinja
    - template: jinja
    - context:
        bridges: {{ switch.bridge | json }}
    - user: root
    - group: root
    - mode: "0644"
    - makedirs: True

openvswitch-switch-reload:
  module.run:
    - service.systemctl_reload: []
    - onchanges:
      - file: openvswitch-switch-unit

openvswitch-switch-running:
  service.running:
    - name: {{ switch.unit }}
    - enable: True
    - require:
      - pkg: openvswitch-switch-packages
      - module: openvswitch-switch-reload

openvswitch-switch-group:
  group.present:
    - name: {{ switch.group }}
    - system: True

# the socket is root's alone, and made anew whenever the switch starts
openvswitch-switch-access-unit:
  file.managed:
    - name: /etc/systemd/system/openvswitch-access.service
    - source: salt://openvswitch/files/access.service.jinja
    - template: jinja
    - context:
        group: {{ switch.group }}
        socket: {{ switch.socket }}
    - user: root
    - group: root
    - mode: "0644"

openvswitch-switch-access:
  service.running:
    - name: openvswitch-access
    - enable: True
    - require:
      - service: openvswitch-switch-running
    - watch:
      - group: openvswitch-switch-group
      - file: openvswitch-switch-access-unit

openvswitch-switch-settings:
  ovs_switch.settings:
    - name: Open vSwitch
    - external_ids: {{ switch.external_ids | json }}
    - other_config: {{ switch.other_config | json }}
    - require:
      - service: openvswitch-switch-running
{%- for name, spec in switch.bridge | dictsort %}
{%- set bridge = spec or {} %}

openvswitch-switch-bridge-{{ name }}:
  ovs_switch.bridge:
    - name: {{ name }}
    - datapath: {{ switch.datapath }}
    - ports: {{ bridge.get("ports", []) | json }}
    - mtu: {{ bridge.get("mtu") | json }}
    - fail_mode: {{ bridge.get("fail_mode") | json }}
    - external_ids: {{ bridge.get("external_ids", {}) | json }}
    - address: {{ bridge.get("address") | json }}
    - checksum_offload: {{ bridge.get("checksum_offload", true) | json }}
    - require:
      - ovs_switch: openvswitch-switch-settings
{%- endfor %}
{%- else %}

openvswitch-switch-access:
  service.dead:
    - name: openvswitch-access
    - enable: False

openvswitch-switch-disabled:
  service.dead:
    - name: {{ switch.unit }}
    - enable: False
{%- endif %}
