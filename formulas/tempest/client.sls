# Tempest on a host that reaches the cloud as users do: the suite, its accounts and a unit for its runs.
{%- include "saltern/guard.jinja" %}
{%- from "tempest/config.jinja" import client, config, accounts, names with context %}
{%- import "oslo/api.jinja" as api with context %}
{%- if client.enabled %}
{{ api.code("tempest", client, role="client") }}

tempest-client-config:
  file.managed:
    - name: /etc/tempest/tempest.conf
    - source: salt://saltern/files/ini.jinja
    - template: jinja
    - context:
        data: {{ config | json }}
    - user: root
    - group: tempest
    - mode: "0640"
    - show_changes: False
    - require:
      - file: tempest-client-directories

# what a run looks up, and what it leaves out
tempest-client-choice:
  file.serialize:
    - name: /etc/tempest/choice.json
    - serializer: json
    - dataset: {{ {"names": names, "exclude": client.exclude, "keep": client.keep} | json }}
    - user: root
    - group: tempest
    - mode: "0640"
    - require:
      - file: tempest-client-directories

tempest-client-accounts:
  file.serialize:
    - name: /etc/tempest/accounts.yaml
    - serializer: yaml
    - dataset: {{ accounts | json }}
    - user: root
    - group: tempest
    - mode: "0640"
    - show_changes: False
    - require:
      - file: tempest-client-directories

# a run is an instance of it: systemd keeps what Salt's job may lose
tempest-client-unit:
  file.managed:
    - name: /etc/systemd/system/tempest@.service
    - source: salt://tempest/files/run.service.jinja
    - template: jinja
    - context:
        venv: {{ api.prefix("tempest", client) }}
        ca: {{ client.identity.ca }}
    - user: root
    - group: root
    - mode: "0644"
    - require:
      - artifact: tempest-client-code
{%- else %}
{%- include "tempest/clean.sls" %}
{%- endif %}
