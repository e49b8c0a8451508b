# The Bare Metal API: uWSGI on a unix socket; nginx on the same host speaks TLS for it. The first host
# migrates the schema, the others find it done.
{%- include "saltern/guard.jinja" %}
{%- from "ironic/lib.jinja" import ironic, common, venv, packaged with context %}
{%- import "ironic/lib.jinja" as lib with context %}
{%- import "oslo/api.jinja" as api with context %}
{%- if ironic.api.enabled %}
{{ lib.settings("api", {
      "api": {"public_endpoint": ironic.api.url},
      "healthcheck": {"enabled": true},
      "oslo_messaging_rabbit": {"heartbeat_in_pthread": true},
      "oslo_middleware": {"enable_proxy_headers_parsing": true},
    }) }}
{%- if common.source.engine != "container" %}

ironic-api-schema:
  openstack_db.synced:
    - name: ironic
    - config: /etc/ironic/ironic.conf
    - migrations: {{ common.source.database.migrations }}
    - section: {{ common.source.database.section }}
    - commands: {{ common.source.database.sync | json }}
    - user: ironic
    - venv: {{ venv }}
    - require_in:
      - service: ironic-api-service
{%- endif %}
{%- if packaged %}

ironic-api-script:
  file.symlink:
    # uWSGI mounts a file only by the name of a Python file
    - name: /etc/ironic/wsgi.py
    - target: {{ ironic.api.wsgi_file }}
    - require_in:
      - service: ironic-api-service
{%- endif %}
{{ api.unit("ironic", {"source": common.source, "uwsgi": ironic.api.uwsgi,
                       "pkg": {"wsgi_file": "/etc/ironic/wsgi.py"} },
            [{"file": "ironic-api-config"}], role="api", name="ironic-api",
            description="OpenStack Bare Metal API (ironic)", arguments=lib.arguments("api").split()) }}
{%- else %}
{{ lib.stopped("api") }}
{%- endif %}
