# Designate's code and designate.conf, for all roles of the host.
{%- include "saltern/guard.jinja" %}
{%- from "designate/lib.jinja" import common, config, units with context %}
{%- import "oslo/api.jinja" as api with context %}
{%- if common.enabled %}
{{ api.code("designate", common, role="common") }}

designate-common-state:
  file.directory:
    - name: /var/lib/designate/lock
    - user: designate
    - group: designate
    - mode: "0750"
    - require:
      - file: designate-common-directories

designate-common-config:
  file.managed:
    - name: /etc/designate/designate.conf
    - source: salt://saltern/files/ini.jinja
    - template: jinja
    - context:
        data: {{ config | json }}
    - user: root
    - group: designate
    - mode: "0640"
    - show_changes: False
    - require:
      - file: designate-common-directories

designate-common-policy:
  file.managed:
    - name: /etc/designate/policy.yaml
    - contents: {{ common.policy | json | json }}
    - user: root
    - group: designate
    - mode: "0640"
    - require:
      - file: designate-common-directories
{%- set changes = [{"file": "designate-common-policy"},
                   {"artifact" if common.source.engine == "venv" else "pkg": "designate-common-code"}] %}
{#- the API reads a file of its own in place of this one #}
{{ api.restarts("designate-common", units.values() | select("equalto", "designate-api") | list, changes) }}
{{ api.restarts("designate-common", units.values() | reject("equalto", "designate-api") | list,
                changes + [{"file": "designate-common-config"}]) }}
{%- else %}

designate-common-config:
  file.absent:
    - name: /etc/designate/designate.conf
{%- endif %}
