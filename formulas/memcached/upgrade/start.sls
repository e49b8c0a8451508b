# Restarts memcached with the new program; what it had cached is asked for anew, here alone.
{%- from "memcached/map.jinja" import memcached with context %}
memcached-upgrade-start:
  package_upgrade.renewed:
    - name: {{ memcached.server.unit }}
