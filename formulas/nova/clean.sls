# Stops Nova on this host and removes its configuration. Databases, disks of instances, the identity of
# a compute and the unpacked releases stay.
{%- include "saltern/guard.jinja" %}
{%- import "oslo/api.jinja" as api with context %}
{{ api.clean("nova", ["nova-novncproxy", "nova-metadata", "nova-api", "nova-scheduler",
                      "nova-conductor", "nova-compute", "nova-cache"]) }}

nova-clean-timers:
  service.dead:
    - names: [nova-archive.timer, nova-builds.timer]
    - enable: False

nova-clean-more:
  file.absent:
    - names:
      - /etc/sudoers.d/nova
      - /etc/systemd/system/nova-archive.service
      - /etc/systemd/system/nova-archive.timer
      - /etc/systemd/system/nova-builds.service
      - /etc/systemd/system/nova-builds.timer
    - require:
      - service: nova-clean-service
      - service: nova-clean-timers

nova-clean-page:
  package_files.absent:
    - name: /opt/saltern/files/novnc
    - require:
      - service: nova-clean-service
