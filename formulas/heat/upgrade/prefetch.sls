# The new release's code, beside the one that runs.
{%- from "heat/config.jinja" import server with context %}
{%- import "oslo/upgrade.jinja" as upgrade with context %}
{{ upgrade.prefetch("heat", server) }}
