# Restarts nginx with the new program; HAProxy sends nobody to the services behind it meanwhile.
{%- from "nginx/map.jinja" import nginx with context %}
nginx-upgrade-start:
  package_upgrade.renewed:
    - name: {{ nginx.server.unit }}
