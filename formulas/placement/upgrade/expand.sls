# What the new release adds to the schema, while the old one serves.
{%- from "placement/config.jinja" import server with context %}
{%- import "oslo/upgrade.jinja" as upgrade with context %}
{{ upgrade.expand("placement", server, "/etc/placement/placement.conf") }}
