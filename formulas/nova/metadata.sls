# The metadata API: uWSGI on a unix socket; nginx on the same host speaks TLS for it.
{%- include "saltern/guard.jinja" %}
{%- from "nova/lib.jinja" import nova, common with context %}
{%- import "nova/lib.jinja" as lib with context %}
{%- if nova.metadata.enabled %}
{{ lib.config("metadata", {
      "neutron": {
        "service_metadata_proxy": true,
        "metadata_proxy_shared_secret": nova.metadata.shared_secret,
      },
      "oslo_messaging_rabbit": {"heartbeat_in_pthread": true},
    }) }}
{{ lib.application("metadata", nova.metadata.wsgi, "OpenStack Compute metadata API (nova)") }}
{%- else %}
{{ lib.stopped("metadata") }}
{%- endif %}
