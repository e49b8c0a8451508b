# Placement: uWSGI on a unix socket; nginx on the same host speaks TLS for it.
{%- include "saltern/guard.jinja" %}
{%- from "placement/config.jinja" import server, config with context %}
{%- import "oslo/api.jinja" as api with context %}
{%- if server.enabled %}
{{ api.code("placement", server) }}
placement-server-config:
  file.managed:
    - name: /etc/placement/placement.conf
    - source: salt://saltern/files/ini.jinja
    - template: jinja
    - context:
        data: {{ config | json }}
    - user: root
    - group: placement
    - mode: "0640"
    - show_changes: False
    - require:
      - file: placement-server-directories
{%- if server.source.engine != "container" %}
{{ api.schema("placement", server, "/etc/placement/placement.conf") }}
{%- endif %}
{{ api.unit("placement", server, [{"file": "placement-server-config"}],
            description="OpenStack Placement API") }}
{%- else %}
{{ api.stopped("placement") }}
{%- endif %}
