# Stops Octavia on this host and removes its configuration. The database, the load balancers in OVN and
# the unpacked releases stay.
{%- include "saltern/guard.jinja" %}
{%- import "oslo/api.jinja" as api with context %}
{{ api.clean("octavia", ["octavia-housekeeping", "octavia-api", "octavia-driver-agent"]) }}
