# Takes the member out of service and removes its configuration; packages and data stay.
{%- from "galera/map.jinja" import galera with context %}
{%- set server = galera.server %}
galera-clean-service:
  service.dead:
    - names: [galera-clustercheck, {{ server.unit }}]
    - enable: False

galera-clean-files:
  file.absent:
    - names:
      - {{ server.config_file }}
      - /etc/systemd/system/{{ server.unit }}.service.d/galera.conf
      - /etc/systemd/system/galera-clustercheck.service
      - /usr/local/sbin/galera-clustercheck
    - require:
      - service: galera-clean-service

galera-clean-user:
  user.absent:
    - name: {{ server.clustercheck.user }}
    - require:
      - service: galera-clean-service

galera-clean-reload:
  module.run:
    - service.systemctl_reload: []
    - onchanges:
      - file: galera-clean-files
