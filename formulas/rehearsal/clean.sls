# Takes the role away. Copies that a rehearsal left go with its directory.
{%- from "rehearsal/map.jinja" import rehearsal with context %}
rehearsal-clean-service:
  service.dead:
    - name: saltern-rehearsal

rehearsal-clean-files:
  file.absent:
    - names:
      - /etc/systemd/system/saltern-rehearsal.service
      - /etc/saltern/rehearsal
      - {{ rehearsal.shadow.directory }}
    - require:
      - service: rehearsal-clean-service
