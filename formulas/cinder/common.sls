# Cinder's code and cinder.conf, for all roles of the host.
{%- include "saltern/guard.jinja" %}
{%- from "cinder/lib.jinja" import cinder, common, units, venv, packaged with context %}
{%- from "saltern/host.jinja" import host with context %}
{%- import "oslo/api.jinja" as api with context %}
{%- import "oslo/lib.jinja" as oslo with context %}
{%- set client = oslo.client(common.identity, common.region) | load_json %}
{%- set called = dict(client, interface="internal") %}
{%- do called.pop("valid_interfaces") %}
{%- set config = salt["slsutil.merge"]({
  "DEFAULT": {
    "host": host.fqdn,
    "my_ip": host.address,
    "state_path": "/var/lib/cinder",
    "use_stderr": true,
    "transport_url": oslo.transport_url(common.message_queue) or none,
    "rootwrap_config": "/etc/cinder/rootwrap.conf",
    "glance_catalog_info": "image:glance:internalURL",
    "glance_ca_certificates_file": common.identity.ca,
    "default_volume_type": cinder.volume.get("default"),
  },
  "database": {
    "connection": oslo.database_url(common.database),
    "max_pool_size": common.database.pool,
    "max_overflow": common.database.pool,
    "max_retries": 10,
    "connection_recycle_time": 280,
  },
  "coordination": {"backend_url": common.get("coordination", "file:///var/lib/cinder/coordination")},
  "keystone_authtoken": oslo.identity(common.identity, common.region) | load_json,
  "service_user": dict(client, send_service_user_token=true),
  "nova": called,
  "oslo_concurrency": {"lock_path": "/var/lib/cinder/lock"},
  "oslo_messaging_notifications": {"driver": common.message_queue.notifications, "retry": 2},
  "oslo_messaging_rabbit": {
    "ssl": true,
    "ssl_ca_file": common.message_queue.ca,
    "rabbit_quorum_queue": true,
  },
}, common.config) %}
{%- if common.enabled %}
{{ api.code("cinder", common, role="common") }}

cinder-common-state:
  file.directory:
    - names:
      - /var/lib/cinder/coordination
      - /var/lib/cinder/conversion
      - /var/lib/cinder/lock
    - user: cinder
    - group: cinder
    - mode: "0750"
    - require:
      - file: cinder-common-directories

cinder-common-config:
  file.managed:
    - name: /etc/cinder/cinder.conf
    - source: salt://saltern/files/ini.jinja
    - template: jinja
    - context:
        data: {{ config | json }}
    - user: root
    - group: cinder
    - mode: "0640"
    - show_changes: False
    - require:
      - file: cinder-common-directories

# what may be done as root: the filters come with the code, this says where they are
cinder-common-rootwrap:
  file.managed:
    - name: /etc/cinder/rootwrap.conf
    - source: salt://saltern/files/ini.jinja
    - template: jinja
    - context:
        data: {{ {"DEFAULT": {
          "filters_path": (common.pkg.filters if packaged
                           else [venv ~ "/etc/cinder/rootwrap.d", venv ~ "/etc/os-brick/rootwrap.d"]) | join(","),
          "exec_dirs": venv ~ "/bin,/sbin,/usr/sbin,/bin,/usr/bin",
          "use_syslog": false,
          "daemon_timeout": 600,
          "rlimit_nofile": 1024,
        } } | json }}
    - user: root
    - group: root
    - mode: "0644"
    - require:
      - file: cinder-common-directories
{%- set changes = [{"file": "cinder-common-config"},
                   {"artifact" if common.source.engine == "venv" else "pkg": "cinder-common-code"}] %}
{%- if common.source.get("native") and common.source.engine == "venv" %}
{%- do changes.append({"artifact": "cinder-common-bindings"}) %}
{%- endif %}
{{ api.restarts("cinder-common", units.values() | list, changes) }}
{%- else %}

cinder-common-config:
  file.absent:
    - name: /etc/cinder/cinder.conf
{%- endif %}
