# Ironic's code and ironic.conf, for all roles of the host.
{%- include "saltern/guard.jinja" %}
{%- from "ironic/lib.jinja" import common, units with context %}
{%- from "saltern/host.jinja" import host with context %}
{%- import "oslo/api.jinja" as api with context %}
{%- import "oslo/lib.jinja" as oslo with context %}
{%- set client = oslo.client(common.identity, common.region) | load_json %}
{%- set config = salt["slsutil.merge"]({
  "DEFAULT": {
    "host": host.fqdn,
    "my_ip": host.address,
    "state_path": "/var/lib/ironic",
    "use_stderr": true,
    "auth_strategy": "keystone",
    "transport_url": oslo.transport_url(common.message_queue) or none,
  },
  "database": {
    "connection": oslo.database_url(common.database),
    "max_pool_size": common.database.pool,
    "max_overflow": common.database.pool,
    "max_retries": 10,
    "connection_recycle_time": 280,
  },
  "keystone_authtoken": oslo.identity(common.identity, common.region) | load_json,
  "glance": client,
  "neutron": client,
  "nova": dict(client, send_power_notifications=false),
  "service_catalog": client,
  "oslo_concurrency": {"lock_path": "/var/lib/ironic/lock"},
  "oslo_messaging_notifications": {"driver": common.message_queue.notifications, "retry": 2},
  "oslo_messaging_rabbit": {
    "ssl": true,
    "ssl_ca_file": common.message_queue.ca,
    "rabbit_quorum_queue": true,
  },
  "oslo_policy": {"policy_file": "/etc/ironic/policy.yaml"},
}, common.config) %}
{%- if common.enabled %}
{#- servers of files for machines that boot read below it #}
{{ api.code("ironic", common, role="common", state_mode="0751") }}

ironic-common-state:
  file.directory:
    - name: /var/lib/ironic/lock
    - user: ironic
    - group: ironic
    - mode: "0750"
    - require:
      - file: ironic-common-directories

ironic-common-config:
  file.managed:
    - name: /etc/ironic/ironic.conf
    - source: salt://saltern/files/ini.jinja
    - template: jinja
    - context:
        data: {{ config | json }}
    - user: root
    - group: ironic
    - mode: "0640"
    - show_changes: False
    - require:
      - file: ironic-common-directories

ironic-common-policy:
  file.managed:
    - name: /etc/ironic/policy.yaml
    - contents: {{ common.policy | json | json }}
    - user: root
    - group: ironic
    - mode: "0640"
    - require:
      - file: ironic-common-directories
{{ api.restarts("ironic-common", units.values() | list,
                [{"file": "ironic-common-config"}, {"file": "ironic-common-policy"},
                 {"artifact" if common.source.engine == "venv" else "pkg": "ironic-common-code"}]) }}
{%- else %}

ironic-common-config:
  file.absent:
    - name: /etc/ironic/ironic.conf
{%- endif %}
