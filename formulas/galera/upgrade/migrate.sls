# The member, which the role has started, is Synced and runs what is installed; its system tables
# become those of that version. Each member does that for itself: none of it is replicated.
{%- from "galera/map.jinja" import galera with context %}
galera-upgrade-migrate:
  galera_upgrade.migrated:
    - name: {{ galera.server.unit }}
