# Stops Keystone and removes its configuration and keys on this host. The database, the key
# repositories of keystone.keys and the unpacked releases stay.
{%- include "saltern/guard.jinja" %}
{%- import "oslo/api.jinja" as api with context %}
{{ api.clean("keystone") }}

keystone-clean-cache-service:
  service.dead:
    - name: keystone-cache
    - enable: False

keystone-clean-cache-unit:
  file.absent:
    - name: /etc/systemd/system/keystone-cache.service
    - require:
      - service: keystone-clean-cache-service
