# One member of a RabbitMQ cluster. The first member begins; the others wait for it, find it by their
# configuration and join by themselves. A changed configuration is written here; in a
# cluster it takes effect by salt-run rabbitmq.form, which restarts one member after the other.
{%- from "rabbitmq/map.jinja" import pinned, rabbitmq with context %}
{%- from "saltern/host.jinja" import host, topology with context %}
{%- import "saltern/packages.jinja" as apt %}
{%- set server = rabbitmq.server %}
{%- set address = server.bind or host.address %}
{%- set tls = server.tls %}
{%- set members = topology.get("roles", {}).get("rabbitmq.server", []) or [host.fqdn] %}
{%- set config = {
      "listeners.tcp": "none",
      "listeners.ssl.default": address ~ ":" ~ server.port,
      "ssl_options.cacertfile": tls.ca,
      "ssl_options.certfile": tls.certificate,
      "ssl_options.keyfile": tls.key,
      "ssl_options.verify": "verify_none",
      "ssl_options.fail_if_no_peer_cert": "false",
      "ssl_options.versions.1": "tlsv1.3",
      "ssl_options.versions.2": "tlsv1.2",
      "cluster_name": server.cluster_name or topology.get("cluster") or "rabbitmq",
      "cluster_partition_handling": "pause_minority",
      "cluster_formation.peer_discovery_backend": "classic_config",
      "disk_free_limit.absolute": server.disk_free_limit,
      "raft.wal_max_size_bytes": 67108864,
    } %}
{%- do config.update({("vm_memory_high_watermark.relative" if server.memory_watermark is number
      else "vm_memory_high_watermark.absolute"): server.memory_watermark}) %}
{%- for id in members %}
{%- set name = topology.get("nodes", {}).get(id, {}).get("name", host.name) %}
{%- do config.update({"cluster_formation.classic_config.nodes." ~ loop.index: "rabbit@" ~ name}) %}
{%- endfor %}
{%- do config.update(server.config) %}
{%- set vhosts, users = dict(server.vhost), dict(server.user) %}
{%- set probe = server.probe %}
{%- if probe.password %}
{%- do vhosts.update({probe.vhost: {}}) %}
{%- do users.update({probe.user: {"password": probe.password, "permissions": {probe.vhost: {}}}}) %}
{%- endif %}
{%- if server.enabled and not server.cookie %}

rabbitmq-server-cookie:
  test.fail_without_changes:
    - name: >-
        rabbitmq:server:cookie is missing, so members could not trust each other.
        Give it in the model, as a reference to a secret.
    - failhard: True
{%- elif server.enabled %}
{{- apt.pin("rabbitmq-server", "rabbitmq", pinned, server.version) }}

rabbitmq-server-packages:
  pkg.installed:
    - pkgs: {{ server.packages | json }}

rabbitmq-server-tls-group:
  group.present:
    - name: {{ server.tls_group }}
    - system: True
    - addusers: [rabbitmq]
    - require:
      - pkg: rabbitmq-server-packages

rabbitmq-server-cookie:
  file.managed:
    - name: {{ server.home }}/.erlang.cookie
    - contents: {{ server.cookie | json }}
    - contents_newline: False
    - user: rabbitmq
    - group: rabbitmq
    - mode: "0400"
    - show_changes: False
    - require:
      - pkg: rabbitmq-server-packages

rabbitmq-server-config:
  file.managed:
    - name: /etc/rabbitmq/rabbitmq.conf
    - source: salt://saltern/files/keyvalue.jinja
    - template: jinja
    - context:
        data: {{ config | json }}
        separator: " = "
    - user: root
    - group: rabbitmq
    - mode: "0640"
    - require:
      - pkg: rabbitmq-server-packages

rabbitmq-server-env:
  file.managed:
    - name: /etc/rabbitmq/rabbitmq-env.conf
    - source: salt://rabbitmq/files/rabbitmq-env.conf.jinja
    - template: jinja
    - context:
        name: {{ host.name }}
        address: {{ address }}
    - user: root
    - group: rabbitmq
    - mode: "0644"
    - require:
      - pkg: rabbitmq-server-packages

rabbitmq-server-internode:
  file.managed:
    - name: /etc/rabbitmq/inter_node_tls.config
    - source: salt://rabbitmq/files/inter_node_tls.config.jinja
    - template: jinja
    - context:
        tls: {{ tls | json }}
    - user: root
    - group: rabbitmq
    - mode: "0640"
    - require:
      - pkg: rabbitmq-server-packages

rabbitmq-server-plugins:
  file.managed:
    - name: /etc/rabbitmq/enabled_plugins
    - contents: "[]."
    - user: root
    - group: rabbitmq
    - mode: "0644"
    - require:
      - pkg: rabbitmq-server-packages

rabbitmq-server-epmd:
  file.managed:
    - name: /etc/systemd/system/epmd.socket.d/rabbitmq.conf
    - contents:
      - "# Managed by Salt: local changes are overwritten."
      - "[Socket]"
      - "ListenStream="
      - ListenStream=127.0.0.1:4369
      - ListenStream={{ address }}:4369
      - FreeBind=true
    - user: root
    - group: root
    - mode: "0644"
    - makedirs: True

rabbitmq-server-unit:
  file.managed:
    - name: /etc/systemd/system/{{ server.unit }}.service.d/rabbitmq.conf
    - contents:
      - "# Managed by Salt: local changes are overwritten."
      - "[Service]"
      - LimitNOFILE=16384
    - user: root
    - group: root
    - mode: "0644"
    - makedirs: True

rabbitmq-server-reload:
  module.run:
    - service.systemctl_reload: []
    - onchanges:
      - file: rabbitmq-server-epmd
      - file: rabbitmq-server-unit

rabbitmq-server-may-start:
  rabbitmq_server.may_start:
    - name: {{ server.unit }}
    - first: {{ members | first }}
    - peers: {{ members | reject("equalto", host.fqdn) | list | json }}
    - require:
      - pkg: rabbitmq-server-packages

rabbitmq-server-running:
  service.running:
    - name: {{ server.unit }}
    - enable: True
    - require:
      - rabbitmq_server: rabbitmq-server-may-start
      - group: rabbitmq-server-tls-group
      - file: rabbitmq-server-cookie
      - file: rabbitmq-server-plugins
      - module: rabbitmq-server-reload
      {%- if members | length == 1 %}
    - watch:
      {%- endif %}
      - file: rabbitmq-server-config
      - file: rabbitmq-server-env
      - file: rabbitmq-server-internode

rabbitmq-server-definitions:
  rabbitmq_server.definitions:
    - name: {{ server.unit }}
    - vhosts: {{ vhosts | json }}
    - users: {{ users | json }}
    - policies: {{ server.policy | json }}
    - absent_users: [guest]
    - require:
      - service: rabbitmq-server-running
{%- else %}

rabbitmq-server-disabled:
  service.dead:
    - name: {{ server.unit }}
    - enable: False
{%- endif %}
