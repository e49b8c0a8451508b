# Takes the member out of service and removes its configuration; packages, data and cookie stay.
{%- from "rabbitmq/map.jinja" import rabbitmq with context %}
{%- set server = rabbitmq.server %}
rabbitmq-clean-service:
  service.dead:
    - name: {{ server.unit }}
    - enable: False

rabbitmq-clean-files:
  file.absent:
    - names:
      - /etc/rabbitmq/rabbitmq.conf
      - /etc/rabbitmq/rabbitmq-env.conf
      - /etc/rabbitmq/inter_node_tls.config
      - /etc/rabbitmq/enabled_plugins
      - /etc/systemd/system/epmd.socket.d/rabbitmq.conf
      - /etc/systemd/system/{{ server.unit }}.service.d/rabbitmq.conf
    - require:
      - service: rabbitmq-clean-service

rabbitmq-clean-reload:
  module.run:
    - service.systemctl_reload: []
    - onchanges:
      - file: rabbitmq-clean-files
