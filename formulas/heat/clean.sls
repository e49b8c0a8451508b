# Stops Heat on this host and removes its configuration. The database and the unpacked releases stay.
{%- include "saltern/guard.jinja" %}
{%- import "oslo/api.jinja" as api with context %}
{{ api.clean("heat", ["heat-engine", "heat-api-cfn", "heat-api", "heat-cache"]) }}
