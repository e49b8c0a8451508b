# The new release's code, beside the one that runs.
{%- from "nova/lib.jinja" import common with context %}
{%- import "oslo/upgrade.jinja" as upgrade with context %}
{{ upgrade.prefetch("nova", common) }}
