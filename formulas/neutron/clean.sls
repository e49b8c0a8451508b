# Stops Neutron on this host and removes its configuration. Database, unpacked releases, and the namespaces
# of networks stay.
{%- include "saltern/guard.jinja" %}
{%- import "oslo/api.jinja" as api with context %}
{{ api.clean("neutron", ["neutron-ovn-metadata-agent", "neutron-ovn-maintenance-worker",
                         "neutron-periodic-workers", "neutron-rpc-server", "neutron-api"]) }}

neutron-clean-more:
  file.absent:
    - name: /etc/sudoers.d/neutron
    - require:
      - service: neutron-clean-service
