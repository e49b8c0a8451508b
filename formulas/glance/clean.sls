# Stops Glance and removes its configuration. Images, database and unpacked releases stay.
{%- include "saltern/guard.jinja" %}
{%- import "oslo/api.jinja" as api with context %}
{{ api.clean("glance") }}
