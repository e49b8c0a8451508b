# What the new release adds to the schema, while the old one serves.
{%- from "keystone/config.jinja" import server with context %}
{%- import "oslo/upgrade.jinja" as upgrade with context %}
{{ upgrade.expand("keystone", server, "/etc/keystone/keystone.conf") }}
