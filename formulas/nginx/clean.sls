# Stops nginx and removes its sites; the package and the logs stay.
{%- from "nginx/map.jinja" import nginx with context %}
nginx-clean-service:
  service.dead:
    - name: {{ nginx.server.unit }}
    - enable: False

nginx-clean-config:
  file.absent:
    - names:
      - /etc/nginx/nginx.conf
      - /etc/nginx/certificate.sha256
    - require:
      - service: nginx-clean-service
