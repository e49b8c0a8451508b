# Restarts keepalived with the new program; the virtual address is on another host, and stays there.
{%- from "keepalived/map.jinja" import keepalived with context %}
keepalived-upgrade-start:
  package_upgrade.renewed:
    - name: {{ keepalived.vrrp.unit }}
