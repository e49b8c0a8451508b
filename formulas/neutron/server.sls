# Neutron's API: uWSGI on a unix socket, nginx on the same host speaks TLS for it; and the workers
# beside it, each in a unit of its own.
{%- include "saltern/guard.jinja" %}
{%- from "neutron/config.jinja" import neutron, server, row, problem, config, ml2, own, workers with context %}
{%- import "oslo/api.jinja" as api with context %}
{%- set native = api.native("neutron", server) %}
{%- set environ = {"PYTHONPATH": native} if native else {} %}
{%- set groups = [server.backend.ovn.tls.group] if server.backend.engine == "ovn" else [] %}
{%- set files = ["/etc/neutron/neutron.conf"] + (["/etc/neutron/plugins/ml2/ml2_conf.ini"] if ml2 else []) %}
{%- set arguments = [] %}
{%- for file in files %}{% do arguments.extend(["--config-file", file]) %}{% endfor %}
{%- if server.enabled and problem %}

neutron-server-backend:
  test.fail_without_changes:
    - name: {{ problem | json }}
    - failhard: True
{%- elif server.enabled %}
{{ api.code("neutron", server) }}
neutron-server-lock:
  file.directory:
    - name: /var/lib/neutron/lock
    - user: neutron
    - group: neutron
    - mode: "0750"
    - require:
      - file: neutron-server-directories
    - require_in:
      - service: neutron-server-service

neutron-server-config:
  file.managed:
    - name: /etc/neutron/neutron.conf
    - source: salt://saltern/files/ini.jinja
    - template: jinja
    - context:
        data: {{ config | json }}
    - user: root
    - group: neutron
    - mode: "0640"
    - show_changes: False
    - require:
      - file: neutron-server-directories
{%- if ml2 %}

neutron-server-ml2:
  file.managed:
    - name: /etc/neutron/plugins/ml2/ml2_conf.ini
    - source: salt://saltern/files/ini.jinja
    - template: jinja
    - context:
        data: {{ ml2 | json }}
    - user: root
    - group: neutron
    - mode: "0640"
    - makedirs: True
    - dir_mode: "0755"
    - require:
      - file: neutron-server-directories
{%- endif %}

neutron-server-api:
  file.managed:
    - name: /etc/neutron/neutron-api.conf
    - source: salt://saltern/files/ini.jinja
    - template: jinja
    - context:
        data: {{ own | json }}
    - user: root
    - group: neutron
    - mode: "0640"
    - require:
      - file: neutron-server-directories
{%- set watch = [{"file": "neutron-server-config"}] + ([{"file": "neutron-server-ml2"}] if ml2 else []) %}
{%- if native %}
{%- do watch.append({"artifact": "neutron-server-bindings"}) %}
{%- endif %}
{%- if server.source.engine != "container" %}
{{ api.schema("neutron", server, "/etc/neutron/neutron.conf") }}
{%- endif %}
{%- set code = {"artifact" if server.source.engine == "venv" else "pkg": "neutron-server-code"} %}
{%- if server.start == "process" %}
{{ api.daemon("neutron", server, "server", "neutron-server", arguments + ["--config-file", "/etc/neutron/neutron-api.conf"],
              watch + [{"file": "neutron-server-api"}, code], groups=groups, name="neutron-api", environ=environ,
              description="OpenStack Networking (neutron)") }}
{%- else %}
{{ api.unit("neutron", server, watch + [{"file": "neutron-server-api"}], groups=groups,
            description="OpenStack Networking API (neutron)",
            environ={"OS_NEUTRON_CONFIG_FILES": (files + ["/etc/neutron/neutron-api.conf"]) | join(";")}) }}
{%- endif %}
{%- for name, program in neutron.programs | dictsort %}
{%- if name in workers %}
{{ api.daemon("neutron", server, name, program, arguments, groups=groups,
              watch=watch + [code], environ=environ,
              description="OpenStack Networking, " ~ name | replace("_", " ") ~ " (neutron)") }}

neutron-{{ name }}-after-schema:
  test.nop:
    - require:
      - service: neutron-server-service
    - require_in:
      - service: neutron-{{ name }}-service
{%- else %}
{{ api.stopped("neutron", name, program) }}
{%- endif %}
{%- endfor %}
{%- else %}
{{ api.stopped("neutron") }}
{%- for name, program in neutron.programs | dictsort %}
{{ api.stopped("neutron", name, program) }}
{%- endfor %}
{%- endif %}
