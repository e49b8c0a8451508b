# The new release's code, beside the one that runs.
{%- from "placement/config.jinja" import server with context %}
{%- import "oslo/upgrade.jinja" as upgrade with context %}
{{ upgrade.prefetch("placement", server) }}
