# Nova's code and nova.conf, for all roles of the host. It knows no database: a compute has it too.
{%- include "saltern/guard.jinja" %}
{%- from "nova/lib.jinja" import nova, common, units with context %}
{%- from "saltern/host.jinja" import host with context %}
{%- import "oslo/api.jinja" as api with context %}
{%- import "oslo/lib.jinja" as oslo with context %}
{%- set client = oslo.client(common.identity, common.region) | load_json %}
{%- set reached = {"region_name": common.region, "valid_interfaces": "internal", "cafile": common.identity.ca} %}
{%- set urls = common.services %}
{%- set config = salt["slsutil.merge"]({
  "DEFAULT": {
    "host": host.fqdn,
    "my_ip": host.address,
    "state_path": "/var/lib/nova",
    "use_stderr": true,
    "transport_url": oslo.transport_url(common.message_queue) or none,
  },
  "keystone_authtoken": oslo.identity(common.identity, common.region) | load_json,
  "service_user": dict(client, send_service_user_token=true),
  "placement": dict(client, endpoint_override=urls.get("placement")),
  "neutron": dict(client, endpoint_override=urls.get("network")),
  "glance": dict(reached, endpoint_override=urls.get("image")),
  "keystone": reached,
  "cinder": dict(client, os_region_name=common.region, catalog_info="volumev3::internalURL",
                 endpoint_template=urls.volume ~ "/%(project_id)s" if urls.get("volume") else none),
  "oslo_concurrency": {"lock_path": "/var/lib/nova/lock"},
  "oslo_messaging_notifications": {"driver": common.message_queue.notifications, "retry": 2},
  "oslo_messaging_rabbit": {
    "ssl": true,
    "ssl_ca_file": common.message_queue.ca,
    "rabbit_quorum_queue": true,
  },
  "upgrade_levels": {"compute": common.upgrade_level} if common.get("upgrade_level") else none,
}, common.config) %}
{%- if common.enabled %}
{{ api.code("nova", common, role="common", state_mode="0751" if "compute" in units else "0750") }}

nova-common-lock:
  file.directory:
    - name: /var/lib/nova/lock
    - user: nova
    - group: nova
    - mode: "0750"
    - require:
      - file: nova-common-directories

nova-common-config:
  file.managed:
    - name: /etc/nova/nova.conf
    - source: salt://saltern/files/ini.jinja
    - template: jinja
    - context:
        data: {{ config | json }}
    - user: root
    - group: nova
    - mode: "0640"
    - show_changes: False
    - require:
      - file: nova-common-directories
{%- set changes = [{"file": "nova-common-config"},
                   {"artifact" if common.source.engine == "venv" else "pkg": "nova-common-code"}] %}
{%- if common.source.get("native") and common.source.engine == "venv" %}
{%- do changes.append({"artifact": "nova-common-bindings"}) %}
{%- endif %}
{{ api.restarts("nova-common", units.values() | list, changes) }}
{%- else %}

nova-common-config:
  file.absent:
    - name: /etc/nova/nova.conf
{%- endif %}
