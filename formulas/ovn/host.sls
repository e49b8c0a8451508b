# A chassis of OVN. Its settings are in the database of Open vSwitch before the controller starts, so
# that it makes the integration bridge once, with the right datapath.
{%- from "ovn/map.jinja" import ovn, bracketed with context %}
{%- from "saltern/host.jinja" import host with context %}
{%- set chassis = ovn.host %}
{%- set datapath = pillar.get("openvswitch", {}).get("switch", {}).get("datapath", "system") %}
{%- set remotes = {} %}
{%- for kind in ["northbound", "southbound"] %}
{%- set urls = [] %}
{%- for one in chassis.central | sort %}
{%- do urls.append("ssl:" ~ bracketed(one) ~ ":" ~ chassis[kind ~ "_port"]) %}
{%- endfor %}
{%- do remotes.update({kind: urls | join(",")}) %}
{%- endfor %}
{%- set options = ["enable-chassis-as-gw"] if chassis.gateway else [] %}
{%- if chassis.availability_zones %}
{%- do options.append("availability-zones=" ~ chassis.availability_zones | join(":")) %}
{%- endif %}
{%- set mappings = [] %}
{%- for network, bridge in chassis.bridge_mappings | dictsort %}
{%- do mappings.append(network ~ ":" ~ bridge) %}
{%- endfor %}
{%- set ids = {
      "system-id": chassis.chassis,
      "ovn-remote": remotes.southbound,
      "ovn-remote-probe-interval": chassis.remote_probe_interval,
      "ovn-encap-type": chassis.encapsulation.type,
      "ovn-encap-ip": chassis.encapsulation.address,
      "ovn-encap-csum": chassis.encapsulation.checksum,
      "ovn-bridge": chassis.integration_bridge,
      "ovn-bridge-datapath-type": datapath,
      "ovn-bridge-mappings": mappings | join(",") or none,
      "ovn-cms-options": options | join(",") or none,
    } %}
{%- if chassis.enabled and not chassis.central %}

ovn-host-central:
  test.fail_without_changes:
    - name: >-
        ovn:host:central is empty, so the chassis would have no databases to follow. Give a node of
        the cluster the role ovn.central, or name the addresses in the model.
    - failhard: True
{%- elif chassis.enabled %}

# the switch writes it to its settings whenever it starts
ovn-host-system-id:
  file.managed:
    - name: /etc/openvswitch/system-id.conf
    - contents: {{ chassis.chassis | json }}
    - user: root
    - group: root
    - mode: "0644"
    - makedirs: True

ovn-host-config:
  file.serialize:
    - name: /etc/ovn/host.json
    - dataset: {{ dict(remotes, chassis=chassis.chassis, tls=chassis.tls) | json }}
    - serializer: json
    - user: root
    - group: root
    - mode: "0644"
    - makedirs: True

ovn-host-defaults:
  file.managed:
    - name: /etc/default/ovn-host
    - source: salt://saltern/files/keyvalue.jinja
    - template: jinja
    - context:
        data:
          OVN_CTL_OPTS: >-
            --ovn-controller-ssl-key={{ chassis.tls.key }}
            --ovn-controller-ssl-cert={{ chassis.tls.certificate }}
            --ovn-controller-ssl-ca-cert={{ chassis.tls.ca }}
        quote: True
    - user: root
    - group: root
    - mode: "0644"

ovn-host-settings:
  ovs_switch.settings:
    - name: OVN
    - external_ids: {{ ids | json }}
    - require:
      - file: ovn-host-system-id

ovn-host-packages:
  pkg.installed:
    - pkgs: {{ chassis.packages | json }}
    - require:
      - ovs_switch: ovn-host-settings
      - file: ovn-host-defaults

ovn-host-enabled:
  service.enabled:
    - name: {{ chassis.unit }}
    - require:
      - pkg: ovn-host-packages

# the flows stay while it restarts
ovn-host-running:
  service.running:
    - name: ovn-controller
    - require:
      - service: ovn-host-enabled
      - file: ovn-host-config
    - watch:
      - file: ovn-host-defaults
{%- else %}

ovn-host-disabled:
  service.dead:
    - names: [ovn-controller, {{ chassis.unit }}]
    - enable: False
{%- endif %}
