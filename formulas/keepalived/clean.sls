# Gives the virtual address up and removes the configuration; the package stays.
{%- from "keepalived/map.jinja" import keepalived with context %}
keepalived-clean-service:
  service.dead:
    - name: {{ keepalived.vrrp.unit }}
    - enable: False

keepalived-clean-config:
  file.absent:
    - names:
      - /etc/keepalived/keepalived.conf
      - {{ keepalived.vrrp.libexec }}/check-haproxy
      - {{ keepalived.vrrp.libexec }}/check-keepalived
    - require:
      - service: keepalived-clean-service

keepalived-clean-user:
  user.absent:
    - name: {{ keepalived.vrrp.script_user }}
    - require:
      - service: keepalived-clean-service
