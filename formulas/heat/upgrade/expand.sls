# What the new release adds to the schema, while the old one serves.
{%- from "heat/config.jinja" import server with context %}
{%- import "oslo/upgrade.jinja" as upgrade with context %}
{{ upgrade.expand("heat", server, "/etc/heat/heat.conf") }}
