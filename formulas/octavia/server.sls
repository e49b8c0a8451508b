# Octavia with the OVN provider, on one host: the agent that drivers report to, the API by uWSGI on a
# unix socket (nginx on the same host speaks TLS for it), and housekeeping.
{%- include "saltern/guard.jinja" %}
{%- from "octavia/config.jinja" import server, problem, config with context %}
{%- import "oslo/api.jinja" as api with context %}
{%- if server.enabled and problem %}

octavia-server-backend:
  test.fail_without_changes:
    - name: {{ problem | json }}
    - failhard: True
{%- elif server.enabled %}
{{ api.code("octavia", server) }}

octavia-server-config:
  file.managed:
    - name: /etc/octavia/octavia.conf
    - source: salt://saltern/files/ini.jinja
    - template: jinja
    - context:
        data: {{ config | json }}
    - user: root
    - group: octavia
    - mode: "0640"
    - show_changes: False
    - require:
      - file: octavia-server-directories

octavia-server-policy:
  file.managed:
    - name: /etc/octavia/policy.yaml
    - contents: {{ server.policy | json | json }}
    - user: root
    - group: octavia
    - mode: "0640"
    - require:
      - file: octavia-server-directories
{{ api.schema("octavia", server, "/etc/octavia/octavia.conf") }}
{#- none of the units below knows by itself what it runs #}
{%- set changes = [{"file": "octavia-server-config"},
                   {"artifact" if server.source.engine == "venv" else "pkg": "octavia-server-code"}] %}
{%- set groups = [server.backend.ovn.tls.group] %}
{%- set arguments = ["--config-file", "/etc/octavia/octavia.conf"] %}
{#- Its sockets are in /run/octavia: the library that drivers report with knows no other place. The API
    waits for them before it loads a driver. #}
{{ api.daemon("octavia", server, "agent", "octavia-driver-agent", arguments, changes, groups=groups,
              runtime="octavia", description="OpenStack Load Balancer driver agent (octavia)") }}
{{ api.unit("octavia", dict(server, pkg={"wsgi_file": "/etc/octavia/wsgi.py"}),
            changes + [{"file": "octavia-server-policy"}], name="octavia-api", groups=groups,
            arguments=arguments, after=["octavia-driver-agent.service"],
            description="OpenStack Load Balancer API (octavia)") }}
{{ api.daemon("octavia", server, "housekeeping", "octavia-housekeeping", arguments, changes,
              description="OpenStack Load Balancer housekeeping (octavia)") }}

octavia-server-before:
  test.nop:
    - require:
      - openstack_db: octavia-server-schema
      - service: octavia-agent-service
    - require_in:
      - service: octavia-server-service
      - service: octavia-housekeeping-service
{%- else %}
{%- for role, unit in [("housekeeping", "octavia-housekeeping"), ("server", "octavia-api"),
                       ("agent", "octavia-driver-agent")] %}
{{ api.stopped("octavia", role, unit) }}
{% endfor %}
{%- endif %}
