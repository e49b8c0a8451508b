# What the new release adds to the schema, while the old one serves.
{%- from "cinder/lib.jinja" import common with context %}
{%- import "oslo/upgrade.jinja" as upgrade with context %}
{{ upgrade.expand("cinder", common, "/etc/cinder/cinder.conf") }}
