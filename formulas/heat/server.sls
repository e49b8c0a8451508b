# Heat: both APIs by uWSGI on unix sockets (nginx on the same host speaks TLS for them) and the engine.
{%- include "saltern/guard.jinja" %}
{%- from "heat/config.jinja" import server, config, cached with context %}
{%- import "oslo/api.jinja" as api with context %}
{%- import "oslo/cache.jinja" as cache with context %}
{%- if server.enabled %}
{{ api.code("heat", server) }}

heat-server-config:
  file.managed:
    - name: /etc/heat/heat.conf
    - source: salt://saltern/files/ini.jinja
    - template: jinja
    - context:
        data: {{ config | json }}
    - user: root
    - group: heat
    - mode: "0640"
    - show_changes: False
    - require:
      - file: heat-server-directories
{{ cache.tunnel("heat", "server", server.cache) }}
{%- if server.source.engine != "container" %}
{{ api.schema("heat", server, "/etc/heat/heat.conf") }}
{%- endif %}
{%- set after = ["heat-cache.service"] if cached else [] %}
{%- set changes = [{"file": "heat-server-config"}] %}
{{ api.unit("heat", server, changes, after=after, description="OpenStack Orchestration API (heat)") }}
{#- the two below do not know by themselves what they run -#}
{%- do changes.append({"artifact" if server.source.engine == "venv" else "pkg": "heat-server-code"}) %}
{%- set cfn = dict(server, source=dict(server.source, wsgi=server.wsgi_cfn), pkg={"wsgi_file": server.get("pkg", {}).get("wsgi_file_cfn")}) %}
{{ api.unit("heat", cfn, changes, after=after, role="cfn", name="heat-api-cfn",
            description="OpenStack Orchestration API for CloudFormation (heat)") }}
{{ api.daemon("heat", server, "engine", "heat-engine", ["--config-file", "/etc/heat/heat.conf"], changes,
              after=after, description="OpenStack Orchestration engine (heat)") }}
{%- else %}
{%- for role, unit in [("server", "heat-api"), ("cfn", "heat-api-cfn"), ("engine", "heat-engine")] %}
{{ api.stopped("heat", role, unit) }}
{% endfor %}
{{ cache.idle("heat", "server") }}
{%- endif %}
