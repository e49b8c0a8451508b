# The new program takes over by a reload: connections that are there end with the old one. The virtual
# address, if keepalived holds one, has left this host before.
{%- from "haproxy/map.jinja" import haproxy with context %}
haproxy-upgrade-start:
  package_upgrade.renewed:
    - name: {{ haproxy.proxy.unit }}
    - reload: True
