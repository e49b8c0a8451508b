# One member of a Galera cluster. It is configured and enabled here, and started only when it holds
# the data of a cluster: who begins a new one is decided by salt-run galera.form, which asks them
# all. A changed configuration is written here and taken into effect there, one member at a time.
{%- from "galera/map.jinja" import galera, pinned with context %}
{%- from "saltern/host.jinja" import host, topology with context %}
{%- import "saltern/packages.jinja" as apt %}
{%- set server = galera.server %}
{%- set address = server.bind or host.address %}
{%- set members = topology.get("roles", {}).get("galera.server", []) %}
{%- set peers = [] %}
{%- for id in members %}{% do peers.append(topology.nodes[id].address) %}{% endfor %}
{%- set alone = server.standalone and members | length < 2 %}
{%- set tls = server.tls %}
{%- set options = {
      "socket.ssl": "yes", "socket.ssl_ca": tls.ca, "socket.ssl_cert": tls.certificate,
      "socket.ssl_key": tls.key, "gcache.size": server.gcache,
      "gmcast.listen_addr": "ssl://" ~ address ~ ":4567", "ist.recv_bind": address} %}
{%- do options.update(server.provider_options) %}
{%- set provider_options = [] %}
{%- for key in options | sort if options[key] is not none %}
{%- do provider_options.append(key ~ "=" ~ options[key]) %}
{%- endfor %}
{%- set config = {
      "mysqld": {
        "bind_address": address,
        "port": server.port,
        "skip_name_resolve": "ON",
        "max_connections": server.max_connections,
        "open_files_limit": 16384,
        "character_set_server": "utf8mb4",
        "default_storage_engine": "InnoDB",
        "innodb_buffer_pool_size": server.buffer_pool,
        "innodb_autoinc_lock_mode": 2,
        "innodb_flush_log_at_trx_commit": 1,
        "binlog_format": "ROW",
        "ssl_ca": tls.ca,
        "ssl_cert": tls.certificate,
        "ssl_key": tls.key,
        "tls_version": "TLSv1.2,TLSv1.3",
        "require_secure_transport": "ON",
        "wsrep_on": "ON",
        "wsrep_provider": server.provider,
        "wsrep_cluster_name": server.cluster_name or topology.get("cluster") or "galera",
        "wsrep_cluster_address": "gcomm://" ~ ("" if alone else peers | join(",")),
        "wsrep_node_name": host.name,
        "wsrep_node_address": address,
        "wsrep_sst_method": "mariabackup",
        "wsrep_sst_auth": "mysql:",
        "wsrep_sst_receive_address": address,
        "wsrep_provider_options": '"' ~ provider_options | join(";") ~ '"',
      },
      "sst": {
        "encrypt": 3,
        "ssl_mode": "VERIFY_CA",
        "tca": tls.ca,
        "tcert": tls.certificate,
        "tkey": tls.key,
        "sockopt": ",bind=" ~ address,
      },
    } %}
{%- if server.enabled %}
{%- if host.fqdn not in members and not alone %}

galera-server-member:
  test.fail_without_changes:
    - name: >-
        {{ host.fqdn }} is no member of topology:roles:galera.server, so its peers are unknown.
        Give the role to the node in the model, or set galera:server:standalone.
    - failhard: True
{%- endif %}
{{- apt.pin("galera-server", "galera", pinned, server.version) }}

galera-server-packages:
  pkg.installed:
    - pkgs: {{ server.packages | json }}

galera-server-tls-group:
  group.present:
    - name: {{ server.tls_group }}
    - system: True
    - addusers: [mysql]
    - require:
      - pkg: galera-server-packages

galera-server-config:
  file.managed:
    - name: {{ server.config_file }}
    - source: salt://saltern/files/ini.jinja
    - template: jinja
    - context:
        data: {{ salt["slsutil.merge"](config, server.config) | json }}
    - user: root
    - group: mysql
    - mode: "0640"
    - require:
      - pkg: galera-server-packages

galera-server-unit:
  file.managed:
    - name: /etc/systemd/system/{{ server.unit }}.service.d/galera.conf
    - source: salt://galera/files/mariadb.conf
    - user: root
    - group: root
    - mode: "0644"
    - makedirs: True

galera-server-reload:
  module.run:
    - service.systemctl_reload: []
    - onchanges:
      - file: galera-server-unit

galera-server-enabled:
  service.enabled:
    - name: {{ server.unit }}
    - require:
      - pkg: galera-server-packages

galera-server-running:
  galera_member.running:
    - name: {{ server.unit }}
    - standalone: {{ alone }}
    - require:
      - group: galera-server-tls-group
      - file: galera-server-config
      - module: galera-server-reload
      - service: galera-server-enabled

galera-server-clustercheck-user:
  user.present:
    - name: {{ server.clustercheck.user }}
    - system: True
    - createhome: False
    - home: /nonexistent
    - shell: /usr/sbin/nologin
    - usergroup: True

galera-server-accounts:
  galera_member.accounts:
    - name: {{ server.unit }}
    - require:
      - galera_member: galera-server-running

galera-server-clustercheck:
  file.managed:
    - name: /usr/local/sbin/galera-clustercheck
    - source: salt://galera/files/clustercheck.py
    - user: root
    - group: root
    - mode: "0755"

galera-server-clustercheck-unit:
  file.managed:
    - name: /etc/systemd/system/galera-clustercheck.service
    - source: salt://galera/files/galera-clustercheck.service.jinja
    - template: jinja
    - context:
        address: {{ address }}
        check: {{ server.clustercheck | json }}
    - user: root
    - group: root
    - mode: "0644"

galera-server-clustercheck-reload:
  module.run:
    - service.systemctl_reload: []
    - onchanges:
      - file: galera-server-clustercheck-unit

galera-server-clustercheck-running:
  service.running:
    - name: galera-clustercheck
    - enable: True
    - require:
      - user: galera-server-clustercheck-user
      - module: galera-server-clustercheck-reload
    - watch:
      - file: galera-server-clustercheck
      - file: galera-server-clustercheck-unit
{%- else %}

galera-server-disabled:
  service.dead:
    - names: [galera-clustercheck, {{ server.unit }}]
    - enable: False
{%- endif %}
