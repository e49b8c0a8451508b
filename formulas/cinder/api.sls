# The Block Storage API: uWSGI on a unix socket; nginx on the same host speaks TLS for it. The first
# host migrates the schema, the others find it done.
{%- include "saltern/guard.jinja" %}
{%- from "cinder/lib.jinja" import cinder, common, venv, packaged with context %}
{%- import "cinder/lib.jinja" as lib with context %}
{%- import "oslo/api.jinja" as api with context %}
{%- if cinder.api.enabled %}
{%- set quota = {} %}
{%- for name, value in cinder.api.quota | dictsort %}
{%- do quota.update({"per_volume_size_limit" if name == "per_volume_gigabytes" else "quota_" ~ name: value}) %}
{%- endfor %}
cinder-api-policy:
  file.managed:
    - name: /etc/cinder/policy.yaml
    - contents: {{ cinder.api.policy | json | json }}
    - user: root
    - group: cinder
    - mode: "0640"
{#- use_default_quota_class: else the database's own defaults count, which it got from the first migration #}
{{ lib.config("api", {
      "DEFAULT": dict(quota,
        use_default_quota_class=false,
        auth_strategy="keystone",
        public_endpoint=cinder.api.url | regex_replace("^(https?://[^/]+).*$", "\\1"),
        api_paste_config=common.pkg.paste if packaged else venv ~ "/etc/cinder/api-paste.ini",
        resource_query_filters_file="/etc/cinder/resource_filters.json" if packaged
                                    else venv ~ "/etc/cinder/resource_filters.json"),
      "oslo_middleware": {"enable_proxy_headers_parsing": true},
      "oslo_policy": {"policy_file": "/etc/cinder/policy.yaml"},
      "oslo_messaging_rabbit": {"heartbeat_in_pthread": true},
    }) }}
{%- if common.source.engine != "container" %}

cinder-api-schema:
  openstack_db.synced:
    {{- api.compared("cinder", common, "/etc/cinder/cinder.conf") }}
    - require_in:
      - service: cinder-api-service
{%- endif %}
{{ api.unit("cinder", {"source": common.source, "uwsgi": cinder.api.uwsgi,
                       "pkg": {"wsgi_file": cinder.api.get("wsgi_file")} },
            [{"file": "cinder-api-config"}], role="api", name="cinder-api",
            description="OpenStack Block Storage API (cinder)",
            arguments=["--config-file", "/etc/cinder/cinder.conf",
                       "--config-file", "/etc/cinder/cinder-api.conf"]) }}
{%- else %}
{{ lib.stopped("api") }}
{%- endif %}
