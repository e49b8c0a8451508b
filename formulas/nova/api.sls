# The Compute API: uWSGI on a unix socket; nginx on the same host speaks TLS for it.
{%- include "saltern/guard.jinja" %}
{%- from "nova/lib.jinja" import nova, common with context %}
{%- import "nova/lib.jinja" as lib with context %}
{%- if nova.api.enabled %}

include:
  - nova.control

nova-api-policy:
  file.managed:
    - name: /etc/nova/policy.yaml
    - contents: {{ nova.api.policy | json | json }}
    - user: root
    - group: nova
    - mode: "0640"
{{ lib.config("api", {
      "api": {
        "auth_strategy": "keystone",
        "compute_link_prefix": nova.api.url | regex_replace("^(https?://[^/]+).*$", "\\1"),
      },
      "oslo_policy": {"policy_file": "/etc/nova/policy.yaml"},
      "oslo_messaging_rabbit": {"heartbeat_in_pthread": true},
    }) }}
{{ lib.application("api", common.source.wsgi, "OpenStack Compute API (nova)") }}
{%- else %}
{{ lib.stopped("api") }}
{%- endif %}
