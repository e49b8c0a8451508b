# The DNS API: uWSGI on a unix socket; nginx on the same host speaks TLS for it. The application reads two
# files of one directory and nothing else, so it has a directory of its own: no other process has threads
# in place of green ones.
{%- include "saltern/guard.jinja" %}
{%- from "designate/lib.jinja" import designate, common, config, venv, packaged with context %}
{%- import "designate/lib.jinja" as lib with context %}
{%- import "oslo/api.jinja" as api with context %}
{%- if designate.api.enabled %}
{{ lib.settings("api", salt["slsutil.merge_all"]([config, {
      "service:api": {
        "api_base_uri": designate.api.url,
        "enable_host_header": false,
        "enable_api_v2": true,
        "auth_strategy": "keystone",
      },
      "oslo_messaging_rabbit": {"heartbeat_in_pthread": true},
      "oslo_middleware": {"enable_proxy_headers_parsing": true},
    }]), name="/etc/designate/api/designate.conf") }}

designate-api-paste:
  file.symlink:
    - name: /etc/designate/api/api-paste.ini
    - target: {{ common.pkg.paste if packaged else venv ~ "/etc/designate/api-paste.ini" }}
    - force: True
    - require:
      - file: designate-api-config
{%- if packaged %}

designate-api-script:
  file.symlink:
    # uWSGI mounts a file only by the name of a Python file
    - name: /etc/designate/wsgi.py
    - target: {{ designate.api.wsgi_file }}
    - require_in:
      - service: designate-api-service
{%- endif %}
{{ api.unit("designate", {"source": common.source, "uwsgi": designate.api.uwsgi,
                          "pkg": {"wsgi_file": "/etc/designate/wsgi.py"} },
            [{"file": "designate-api-config"}, {"file": "designate-api-paste"}],
            role="api", name="designate-api", description="OpenStack DNS API (designate)",
            environ={"OS_DESIGNATE_CONFIG_DIR": "/etc/designate/api"}) }}
{%- else %}
{{ lib.stopped("api") }}
{%- endif %}
