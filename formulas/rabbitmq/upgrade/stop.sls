# Stops this member, which is in maintenance mode: others lead its queues and have its clients.
{%- from "rabbitmq/map.jinja" import rabbitmq with context %}
rabbitmq-upgrade-stop:
  service.dead:
    - name: {{ rabbitmq.server.unit }}
