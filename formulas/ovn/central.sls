# One member of OVN's control plane. It is configured here, and started only when it holds databases of
# a cluster: who begins one, and who joins, is decided by salt-run ovn.form, which asks them all.
{%- from "ovn/map.jinja" import ovn, bracketed with context %}
{%- from "saltern/host.jinja" import host, topology with context %}
{%- set central = ovn.central %}
{%- set address = central.address or host.address %}
{%- set members = topology.get("roles", {}).get("ovn.central", []) or [host.fqdn] %}
{%- set addresses = [] %}
{%- for id in members %}
{%- do addresses.append(address if id == host.fqdn else topology.nodes[id].address) %}
{%- endfor %}
{%- set alone = central.standalone and members | length < 2 %}
{%- set config = {
      "address": bracketed(address),
      "members": addresses | length,
      "northbound": central.northbound,
      "southbound": central.southbound,
    } %}
{%- set remotes = {} %}
{%- for kind in ["northbound", "southbound"] %}
{%- set urls = [] %}
{%- for one in addresses %}
{%- do urls.append("ssl:" ~ bracketed(one) ~ ":" ~ central[kind].port) %}
{%- endfor %}
{%- do remotes.update({kind: urls | join(",")}) %}
{%- endfor %}
{%- set units = {
      "ovn-ovsdb-server-nb": {"kind": "nb", "schema": "OVN_Northbound", "table": "NB_Global"},
      "ovn-ovsdb-server-sb": {"kind": "sb", "schema": "OVN_Southbound", "table": "SB_Global"},
      "ovn-northd": {},
    } %}
{%- if central.enabled %}

# before the packages: these start daemons, which would make databases that are no cluster's
{%- for unit, database in units | dictsort %}

ovn-central-unit-{{ unit }}:
  file.managed:
    - name: /etc/systemd/system/{{ unit }}.service.d/saltern.conf
    - source: salt://ovn/files/{{ "ovsdb" if database else "northd" }}.conf.jinja
    - template: jinja
    - context:
        database: {{ database | json }}
        tls: {{ central.tls | json }}
        remotes: {{ remotes | json }}
        threads: {{ central.northd.threads }}
    - user: root
    - group: root
    - mode: "0644"
    - makedirs: True
{%- endfor %}

ovn-central-config:
  file.serialize:
    - name: /etc/ovn/central.json
    - dataset: {{ config | json }}
    - serializer: json
    - user: root
    - group: root
    - mode: "0644"
    - makedirs: True

ovn-central-reload:
  module.run:
    - service.systemctl_reload: []
    - onchanges:
      {%- for unit in units | sort %}
      - file: ovn-central-unit-{{ unit }}
      {%- endfor %}

ovn-central-packages:
  pkg.installed:
    - pkgs: {{ central.packages | json }}
    - require:
      - module: ovn-central-reload

ovn-central-enabled:
  service.enabled:
    - name: {{ central.unit }}
    - require:
      - pkg: ovn-central-packages

ovn-central-running:
  ovn_cluster.running:
    - name: {{ central.unit }}
    - standalone: {{ alone }}
    - require:
      - service: ovn-central-enabled
      - file: ovn-central-config
{%- else %}

ovn-central-disabled:
  service.dead:
    - names: [ovn-northd, ovn-ovsdb-server-sb, ovn-ovsdb-server-nb, {{ central.unit }}]
    - enable: False
{%- endif %}
