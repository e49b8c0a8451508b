# designate-central: the database behind all others, and the pools of name servers. The first host migrates
# the schema, the others find it done.
{%- include "saltern/guard.jinja" %}
{%- from "designate/lib.jinja" import designate, common, units, venv with context %}
{%- from "saltern/host.jinja" import host, topology with context %}
{%- import "designate/lib.jinja" as lib with context %}
{%- import "oslo/lib.jinja" as oslo with context %}
{%- set central = designate.central %}
{#- the hosts that name servers fetch zones from #}
{%- set masters = [] %}
{%- for id in oslo.nodes_of("designate.mdns").split() | sort %}
{%- do masters.append({"host": host.address if id == host.fqdn else topology.nodes[id].address,
                       "port": designate.mdns.port}) %}
{%- endfor %}
{%- set pools = [] %}
{%- for name, pool in central.pool | dictsort if pool %}
{%- set targets, servers = [], [] %}
{%- for target in pool.targets %}
{%- set row = designate.backends[target.engine] %}
{%- set options = {"host": target.host, "port": target.get("port", row.port)} %}
{%- if target.engine == "bind9" %}
{%- do options.update({
      "rndc_host": target.host,
      "rndc_port": target.get("rndc_port", row.rndc_port),
      "rndc_key_file": "/etc/designate/rndc-" ~ target.rndc_key ~ ".key",
      "rndc_bin_path": "/usr/sbin/rndc",
      "clean_zonefile": "true",
    }) %}
{%- if target.get("view") %}{% do options.update({"view": target.view}) %}{% endif %}
{%- elif target.engine == "pdns4" %}
{%- do options.update({
      "api_endpoint": target.url,
      "api_token": target.token,
      "api_ca_cert": target.get("ca", common.identity.ca),
    }) %}
{%- endif %}
{%- do targets.append({"type": target.engine, "description": target.get("description", target.host),
                       "masters": target.get("masters") or masters, "options": options}) %}
{%- do servers.append({"host": target.host, "port": options.port}) %}
{%- endfor %}
{%- do pools.append({
      "name": name,
      "description": pool.get("description", name),
      "attributes": pool.get("attributes", {}),
      "ns_records": pool.ns_records,
      "nameservers": pool.get("nameservers") or servers,
      "also_notifies": pool.get("also_notifies", []),
      "targets": targets,
    }) %}
{%- if central.enabled and not targets | rejectattr("masters") | list | length == 0 %}
{{- raise("designate:central:pool:" ~ name ~ " has no masters: give a node the role designate.mdns, or name them"
          ~ " in the model") -}}
{%- endif %}
{%- endfor %}
{%- if central.enabled %}
{{ lib.settings("central", {"service:central": {
      "workers": central.workers,
      "default_pool_id": central.get("default_pool_id"),
      "managed_resource_email": central.get("email"),
    } }) }}

designate-central-pools:
  file.managed:
    - name: /etc/designate/pools.yaml
    - contents: {{ pools | json | json }}
    - user: root
    - group: designate
    - mode: "0640"
    - show_changes: False
{%- if common.source.engine != "container" %}

designate-central-schema:
  openstack_db.synced:
    - name: designate
    - config: /etc/designate/designate.conf
    - migrations: {{ common.source.database.migrations }}
    - section: {{ common.source.database.section | json }}
    - commands: {{ common.source.database.sync | json }}
    - user: designate
    - venv: {{ venv }}
    - require_in:
      - service: designate-central-service
{%- endif %}
{%- if "central" in units %}
{{ lib.daemon("central", "OpenStack DNS central (designate)") }}
{%- if common.source.engine != "container" %}

designate-central-pool:
  designate_pool.synced:
    - name: /etc/designate/pools.yaml
    - venv: {{ venv }}
    - require:
      - file: designate-central-pools
      - service: designate-central-service
{%- endif %}
{%- else %}
{{ lib.stopped("central") }}
{%- endif %}
{%- else %}
{{ lib.stopped("central") }}
{%- endif %}
