# Stops Cinder on this host and removes its configuration. The database, volumes, backups and the
# unpacked releases stay.
{%- include "saltern/guard.jinja" %}
{%- import "oslo/api.jinja" as api with context %}
{{ api.clean("cinder", ["cinder-backup", "cinder-volume", "cinder-scheduler", "cinder-api"]) }}

cinder-clean-sudo:
  file.absent:
    - names:
      - /etc/sudoers.d/cinder-backup
      - /etc/sudoers.d/cinder-volume
    - require:
      - service: cinder-clean-service
