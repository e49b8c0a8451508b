# Barbican: uWSGI on a unix socket; nginx on the same host speaks TLS for it.
{%- include "saltern/guard.jinja" %}
{%- from "barbican/map.jinja" import barbican with context %}
{%- import "oslo/api.jinja" as api with context %}
{%- if barbican.server.enabled %}
{%- from "barbican/config.jinja" import server, config with context %}
{{ api.code("barbican", server) }}

barbican-server-config:
  file.managed:
    - name: /etc/barbican/barbican.conf
    - source: salt://saltern/files/ini.jinja
    - template: jinja
    - context:
        data: {{ config | json }}
    - user: root
    - group: barbican
    - mode: "0640"
    - show_changes: False
    - require:
      - file: barbican-server-directories
{%- if server.source.engine == "venv" %}

# the only place where it looks for that file
barbican-server-paste:
  file.symlink:
    - name: /etc/barbican/barbican-api-paste.ini
    - target: {{ api.prefix("barbican", server) }}/etc/barbican/barbican-api-paste.ini
    # of a package that was there before
    - force: True
    - require:
      - artifact: barbican-server-code
      - file: barbican-server-directories
    - require_in:
      - service: barbican-server-service
{%- endif %}
{%- if server.source.engine != "container" %}
{{ api.schema("barbican", server, "/etc/barbican/barbican.conf") }}
{%- endif %}
{{ api.unit("barbican", server, [{"file": "barbican-server-config"}],
            description="OpenStack Key Manager API (barbican)") }}
{%- else %}
{{ api.stopped("barbican") }}
{%- endif %}
