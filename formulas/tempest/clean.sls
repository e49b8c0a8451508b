# Removes Tempest's configuration and unit from this host. Unpacked releases and old runs stay.
{%- include "saltern/guard.jinja" %}
tempest-clean-files:
  file.absent:
    - names:
      - /etc/systemd/system/tempest@.service
      - /etc/tempest
      - /opt/openstack/current/tempest
