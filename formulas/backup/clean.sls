# Takes the settings and timers away. Bundles stay, and so does the key that they are encrypted with:
# remove /etc/saltern/backup/key by hand when nobody will restore from them any more.
{%- from "backup/map.jinja" import backup with context %}
{%- for name in backup.scheduler.jobs | sort %}

backup-clean-{{ name }}:
  service.dead:
    - name: saltern-backup-{{ name }}.timer
    - enable: False
{%- endfor %}

backup-clean-files:
  file.absent:
    - names:
      - /etc/saltern/backup/client.json
      - /etc/saltern/backup/server.json
      {%- for name in backup.scheduler.jobs | sort %}
      - /etc/systemd/system/saltern-backup-{{ name }}.timer
      - /etc/systemd/system/saltern-backup-{{ name }}.service
      {%- endfor %}
