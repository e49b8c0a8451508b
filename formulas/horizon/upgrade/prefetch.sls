# The new release's code, beside the one that runs.
{%- from "horizon/map.jinja" import horizon with context %}
{%- import "oslo/upgrade.jinja" as upgrade with context %}
{{ upgrade.prefetch("horizon", horizon.server) }}
