# What the new release adds to the schema, while the old one serves.
{%- import "neutron/map.jinja" as map with context %}
{%- import "oslo/upgrade.jinja" as upgrade with context %}
{{ upgrade.expand("neutron", map.neutron.server, "/etc/neutron/neutron.conf") }}
