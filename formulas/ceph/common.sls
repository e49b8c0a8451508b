# What every host of a Ceph cluster has: packages and ceph.conf. The file is the same for all roles
# of the host, so it is written here from what each of them says.
{%- from "ceph/map.jinja" import ceph, packages with context %}
{%- from "saltern/host.jinja" import host with context %}
{%- set common = ceph.common %}
{%- set roles = pillar.get("ceph", {}) %}
{%- set monitors = [] %}
{%- for monitor in common.monitors | sort(attribute="name") %}
{%- set address = "[" ~ monitor.address ~ "]" if ":" in monitor.address else monitor.address %}
{%- do monitors.append("[v2:" ~ address ~ ":3300,v1:" ~ address ~ ":6789]") %}
{%- endfor %}
{%- set global = {
      "fsid": common.fsid,
      "mon_host": monitors | join(","),
      "public_network": common.network.get("public", []) | join(",") or none,
      "cluster_network": common.network.get("cluster", []) | join(",") or none,
      "log_file": "/var/log/ceph/$cluster-$name.log",
    } %}
{%- if common.secure %}
{%- for mode in ["ms_cluster_mode", "ms_service_mode", "ms_client_mode"] %}
{%- do global.update({mode: "secure"}) %}
{%- endfor %}
{%- endif %}
{%- set config = {"global": global} %}
{%- if "mon" in roles %}
{%- do config.update({"mon": {
      "public_addr": ceph.mon.address,
      "auth_allow_insecure_global_id_reclaim": false,
    }}) %}
{%- endif %}
{%- if "mgr" in roles %}
{%- do config.update({"mgr": {"public_addr": ceph.mgr.address} }) %}
{%- endif %}
{%- if "mds" in roles %}
{%- do config.update({"mds": {"public_addr": ceph.mds.address} }) %}
{%- endif %}
{%- if "osd" in roles %}
{%- set place = [] %}
{%- for kind in ["root", "datacenter", "row", "rack", "host"] if ceph.osd.crush.get(kind) %}
{%- do place.append(kind ~ "=" ~ ceph.osd.crush[kind]) %}
{%- endfor %}
{%- do config.update({"osd": {
      "public_addr": ceph.osd.address,
      "cluster_addr": ceph.osd.cluster_address,
      "crush_location": place | join(" "),
      "osd_memory_target": ceph.osd.memory_target,
    }}) %}
{%- endif %}
{%- if "rgw" in roles %}
{%- set rgw = ceph.rgw %}
{%- set endpoint = (rgw.address or host.address) ~ ":" ~ rgw.port %}
{%- set section = {
      "rgw_frontends": "beast ssl_endpoint=" ~ endpoint ~ " ssl_certificate=" ~ rgw.tls.certificate
        ~ " ssl_private_key=" ~ rgw.tls.key,
      "rgw_thread_pool_size": rgw.threads,
      "rgw_swift_account_in_url": true,
    } %}
{%- if rgw.identity %}
{%- do section.update({
      "rgw_keystone_url": rgw.identity.url,
      "rgw_keystone_api_version": 3,
      "rgw_keystone_admin_domain": "Default",
      "rgw_keystone_admin_user": rgw.identity.get("user", "ceph-rgw"),
      "rgw_keystone_admin_project": rgw.identity.get("project", "service"),
      "rgw_keystone_admin_password_path": "/etc/ceph/rgw.password",
      "rgw_keystone_accepted_roles": rgw.identity.get("accepted_roles", ["admin", "member"]) | join(","),
      "rgw_keystone_verify_ssl": true,
      "rgw_s3_auth_use_keystone": true,
    }) %}
{%- endif %}
{%- do config.update({"client.rgw": section}) %}
{%- endif %}
{%- set config = salt["slsutil.merge_all"]([config] + [
      common.config,
      ceph.mon.config if "mon" in roles else {}, ceph.mgr.config if "mgr" in roles else {},
      ceph.osd.config if "osd" in roles else {}, ceph.mds.config if "mds" in roles else {},
      ceph.rgw.config if "rgw" in roles else {}]) %}

{%- if "mon" in roles and not salt["cmd.which"]("ceph-mon") %}

# a host from a new image may have the store of its monitor, which only that program can read
ceph-common-monitor:
  pkg.installed:
    - pkgs: {{ packages | json }}
    - require_in:
      - ceph_config: ceph-common-cluster
{%- endif %}

# before anything is written: a host of another cluster stays as it is
ceph-common-cluster:
  ceph_config.same_cluster:
    - name: {{ common.fsid }}
    - failhard: True

# those of all roles at once: each run of apt costs seconds of its own
ceph-common-packages:
  pkg.installed:
    - pkgs: {{ packages | json }}
    - require:
      - ceph_config: ceph-common-cluster

ceph-common-config:
  file.managed:
    - name: /etc/ceph/ceph.conf
    - source: salt://saltern/files/ini.jinja
    - template: jinja
    - context:
        data: {{ config | json }}
    - user: root
    - group: root
    - mode: "0644"
    - makedirs: True
    - require:
      - pkg: ceph-common-packages

# Debian's units refuse the fourth start (monitors: the sixth) of half an hour, also one that a
# rollout asks for. A daemon that dies as it starts is still given up.
{%- for kind in ["mon", "mgr", "osd", "mds"] if kind in roles %}

ceph-common-starts-{{ kind }}:
  file.managed:
    - name: /etc/systemd/system/ceph-{{ kind }}@.service.d/starts.conf
    - contents:
      - "# Managed by Salt: local changes are overwritten."
      - "[Unit]"
      - StartLimitIntervalSec=120
    - user: root
    - group: root
    - mode: "0644"
    - makedirs: True
    - onchanges_in:
      - module: ceph-common-reload
{%- if loop.last %}

ceph-common-reload:
  module.run:
    - service.systemctl_reload: []
{%- endif %}
{%- endfor %}
