# Stops this member; it leaves in order and notes where it was.
{%- from "galera/map.jinja" import galera with context %}
galera-upgrade-stop:
  galera_upgrade.left:
    - name: {{ galera.server.unit }}
