# Stops Designate on this host and removes its configuration. The database, the zones on name servers and
# the unpacked releases stay.
{%- include "saltern/guard.jinja" %}
{%- import "oslo/api.jinja" as api with context %}
{{ api.clean("designate", ["designate-worker", "designate-mdns", "designate-producer", "designate-api",
                           "designate-central"]) }}
