# Refuses where a server of the next release would: before this member is touched.
{%- include "saltern/guard.jinja" %}
rabbitmq-upgrade-check:
  rabbitmq_upgrade.ready:
    - name: rabbitmq-server
