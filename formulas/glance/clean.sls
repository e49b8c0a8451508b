# Stops Glance and removes its configuration. Images, database and unpacked releases stay.
{%- import "oslo/api.jinja" as api with context %}
{{ api.clean("glance") }}
