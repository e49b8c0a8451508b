# Keystone: uWSGI on a unix socket; nginx on the same host speaks TLS for it.
{%- include "saltern/guard.jinja" %}
{%- from "keystone/config.jinja" import server, config, cached with context %}
{%- import "oslo/api.jinja" as api with context %}
{%- import "oslo/cache.jinja" as cache with context %}
{%- if server.enabled %}
{{ api.code("keystone", server) }}
{%- for repository in ("fernet", "credential") %}
keystone-server-{{ repository }}-keys:
  {%- if server.keys_from == "pillar" %}
  fernet_keys.deployed:
    - pillar: keystone:server:keys:{{ repository }}
  {%- else %}
  fernet_keys.present:
  {%- endif %}
    - name: /etc/keystone/{{ repository }}-keys
    - user: keystone
    - require:
      - file: keystone-server-directories
    - require_in:
      - service: keystone-server-service
{% endfor %}
keystone-server-config:
  file.managed:
    - name: /etc/keystone/keystone.conf
    - source: salt://saltern/files/ini.jinja
    - template: jinja
    - context:
        data: {{ config | json }}
    - user: root
    - group: keystone
    - mode: "0640"
    - show_changes: False
    - require:
      - file: keystone-server-directories
{{ cache.tunnel("keystone", "server", server.cache) }}
{%- if server.source.engine != "container" %}
{{ api.schema("keystone", server, "/etc/keystone/keystone.conf") }}

keystone-server-bootstrap:
  keystone_bootstrap.done:
    - name: {{ server.bootstrap.username }}
    - config: /etc/keystone/keystone.conf
    - password_pillar: keystone:server:bootstrap:password
    - project: {{ server.bootstrap.project }}
    - region: {{ server.region }}
    - url: {{ server.url | json }}
    - user: keystone
    - venv: {{ api.prefix("keystone", server) }}
    - require:
      - openstack_db: keystone-server-schema
      - fernet_keys: keystone-server-fernet-keys
      - fernet_keys: keystone-server-credential-keys
    - require_in:
      - service: keystone-server-service
{%- endif %}
{{ api.unit("keystone", server, [{"file": "keystone-server-config"}],
            after=["keystone-cache.service"] if cached else [],
            description="OpenStack Identity API (keystone)") }}
{%- else %}
{{ api.stopped("keystone") }}
{{ cache.idle("keystone", "server") }}
{%- endif %}
