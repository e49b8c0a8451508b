# Waits until this member, which the role has started, is back: what is installed runs, all members
# see each other, and its queues are in line.
{%- include "saltern/guard.jinja" %}
rabbitmq-upgrade-start:
  rabbitmq_upgrade.rejoined:
    - name: rabbitmq-server
