# Stops Barbican and removes its configuration, the key-encryption key with it. Database and unpacked
# releases stay.
{%- include "saltern/guard.jinja" %}
{%- import "oslo/api.jinja" as api with context %}
{{ api.clean("barbican") }}
