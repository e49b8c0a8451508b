# Stops Ironic on this host and removes its configuration. The database, images in /var/lib/ironic and the
# unpacked releases stay, and machines are left as they are.
{%- include "saltern/guard.jinja" %}
{%- import "oslo/api.jinja" as api with context %}
{{ api.clean("ironic", ["ironic-conductor", "ironic-tftp", "ironic-api"]) }}
