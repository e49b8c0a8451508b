# The new release's code, beside the one that runs.
{%- from "cinder/lib.jinja" import common with context %}
{%- import "oslo/upgrade.jinja" as upgrade with context %}
{{ upgrade.prefetch("cinder", common) }}
