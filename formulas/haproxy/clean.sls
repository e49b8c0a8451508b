# Stops HAProxy and removes its configuration; the package stays.
{%- from "haproxy/map.jinja" import haproxy with context %}
haproxy-clean-service:
  service.dead:
    - name: {{ haproxy.proxy.unit }}
    - enable: False

haproxy-clean-config:
  file.absent:
    - names:
      - /etc/haproxy/haproxy.cfg
      - /etc/haproxy/certificate.sha256
      - /etc/haproxy/fence.map
      - /etc/haproxy/fence.map.lock
    - require:
      - service: haproxy-clean-service
