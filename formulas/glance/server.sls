# Glance: uWSGI on a unix socket; nginx on the same host speaks TLS for it.
{%- include "saltern/guard.jinja" %}
{%- from "glance/config.jinja" import server, config, paste with context %}
{%- import "oslo/api.jinja" as api with context %}
{%- if server.enabled %}
{{ api.code("glance", server) }}
glance-server-store:
  file.directory:
    - names:
      - /var/lib/glance/staging
      - /var/lib/glance/tasks
      - /var/lib/glance/lock
      {%- for name, options in server.store.backends | dictsort if options and options.get("filesystem_store_datadir") %}
      - {{ options.filesystem_store_datadir }}
      {%- endfor %}
    - user: glance
    - group: glance
    - mode: "0750"
    - makedirs: True
    - require:
      - file: glance-server-directories
    - require_in:
      - service: glance-server-service

glance-server-config:
  file.managed:
    - name: /etc/glance/glance-api.conf
    - source: salt://saltern/files/ini.jinja
    - template: jinja
    - context:
        data: {{ config | json }}
    - user: root
    - group: glance
    - mode: "0640"
    - show_changes: False
    - require:
      - file: glance-server-directories
{%- if server.source.engine == "venv" %}

# 2024.1 reads it as one of its own files, and looks nowhere else; later releases do not mind
glance-server-paste:
  file.symlink:
    - name: /etc/glance/glance-api-paste.ini
    - target: {{ paste }}
    - require:
      - file: glance-server-directories
      - artifact: glance-server-code
    - require_in:
      - service: glance-server-service
{%- endif %}
{%- if server.source.engine != "container" %}
{{ api.schema("glance", server, "/etc/glance/glance-api.conf") }}
{%- endif %}
{{ api.unit("glance", server, [{"file": "glance-server-config"}],
            description="OpenStack Image API (glance)") }}
{%- else %}
{{ api.stopped("glance") }}
{%- endif %}
