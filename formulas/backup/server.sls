# Where bundles are kept. They come through the site of nginx that belongs to this role, which also
# makes the directory; this says where it is to backup_store.
{%- from "backup/map.jinja" import backup with context %}
{%- set server = backup.server %}
backup-server-settings:
  file.{{ "managed" if server.enabled else "absent" }}:
    - name: /etc/saltern/backup/server.json
    {%- if server.enabled %}
    - contents: {{ {"directory": server.directory} | json | json }}
    - user: root
    - group: root
    - mode: "0600"
    - makedirs: True
    - dir_mode: "0700"
    {%- endif %}
