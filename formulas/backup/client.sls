# A host that can be backed up: where bundles go, and what they are encrypted with.
{%- from "backup/map.jinja" import backup with context %}
{%- from "saltern/host.jinja" import topology with context %}
{%- set client = backup.client %}
{%- set directory = "/etc/saltern/backup" %}
{%- set settings = {
      "host": grains["id"], "cluster": client.cluster or topology.get("cluster"),
      "server": client.server, "port": client.port, "tls": client.tls,
      "key_file": directory ~ "/key", "directory": client.directory,
      "compression": client.compression, "mariadb": client.mariadb} %}
{%- if client.enabled %}
backup-client-packages:
  pkg.installed:
    - pkgs: {{ client.packages | json }}

backup-client-settings:
  file.managed:
    - name: {{ directory }}/client.json
    - contents: {{ settings | json | json }}
    - user: root
    - group: root
    - mode: "0600"
    - makedirs: True
    - dir_mode: "0700"

backup-client-key:
  file.managed:
    - name: {{ directory }}/key
    - contents: {{ client.key | json }}
    - user: root
    - group: root
    - mode: "0600"
    - show_changes: False
    - require:
      - file: backup-client-settings
{%- else %}
backup-client-disabled:
  file.absent:
    - names:
      - {{ directory }}/client.json
      - {{ directory }}/key
{%- endif %}
