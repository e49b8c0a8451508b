# Refuses while a backup or a state transfer is under way, and where what is written meanwhile would
# not fit the write set cache: a whole copy would be made for the member when it comes back.
{%- from "galera/map.jinja" import galera with context %}
galera-upgrade-check:
  galera_upgrade.ready:
    - name: {{ galera.server.unit }}
    - seconds: {{ galera.server.away }}
