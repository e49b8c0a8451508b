# The dashboard: uWSGI on a unix socket; nginx on the same host speaks TLS for it and serves its static
# files, which the artifact brings.
{%- include "saltern/guard.jinja" %}
{%- from "horizon/map.jinja" import horizon with context %}
{%- import "oslo/api.jinja" as api with context %}
{%- import "oslo/cache.jinja" as cache with context %}
{%- if horizon.server.enabled %}
{%- from "horizon/config.jinja" import server, settings, file, cached with context %}
{{ api.code("horizon", server) }}

horizon-server-config:
  file.managed:
    - name: {{ file }}
    - source: salt://horizon/files/local_settings.py.jinja
    - template: jinja
    - context:
        data: {{ settings | json }}
    - user: root
    - group: horizon
    - mode: "0640"
    - show_changes: False
    - require:
      - file: horizon-server-directories
{%- if server.source.engine == "pkg" %}
      - pkg: horizon-server-code
{%- endif %}
{{ cache.tunnel("horizon", "server", server.cache) }}
{#- a unit with a name does not know by itself what it runs -#}
{%- set changes = [{"file": "horizon-server-config"},
                   {"artifact" if server.source.engine == "venv" else "pkg": "horizon-server-code"}] %}
{{ api.unit("horizon", server, changes, after=["horizon-cache.service"] if cached else [], name="horizon",
            description="OpenStack Dashboard (horizon)") }}
{%- else %}
{{ api.stopped("horizon", name="horizon") }}
{{ cache.idle("horizon", "server") }}
{%- endif %}
