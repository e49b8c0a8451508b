# Takes the master's daemons and configuration away. Keys, model and key store stay: without them
# no host could be managed again. The minion stays too: it is what applies this.
{%- include "saltern/guard.jinja" %}
salt-clean-services:
  service.dead:
    - names: [salt-api, salt-master]
    - enable: False

salt-clean-files:
  file.absent:
    - names:
      - /etc/salt/api.users
      - /etc/salt/master.d/05-saltern-master.conf
      - /etc/salt/master.d/10-saltern-fileserver.conf
      - /etc/salt/master.d/20-saltern-model.conf
      - /etc/salt/master.d/30-saltern-api.conf
      - /etc/salt/master.d/40-saltern-rollouts.conf
      - /etc/salt/master.d/90-site.conf
      - /etc/salt/master.d/91-api-site.conf
      - /etc/systemd/system/salt-api.service
      - /etc/systemd/system/salt-master.service
    - require:
      - service: salt-clean-services
