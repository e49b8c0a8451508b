# What the new release adds to the schema, while the old one serves.
{%- from "glance/config.jinja" import server with context %}
{%- import "oslo/upgrade.jinja" as upgrade with context %}
{{ upgrade.expand("glance", server, "/etc/glance/glance-api.conf") }}
