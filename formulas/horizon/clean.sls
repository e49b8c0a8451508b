# Stops the dashboard on this host and removes its settings, the key of its sessions with them. The
# unpacked releases stay.
{%- include "saltern/guard.jinja" %}
{%- import "oslo/api.jinja" as api with context %}
{{ api.clean("horizon", ["horizon", "horizon-cache"]) }}
