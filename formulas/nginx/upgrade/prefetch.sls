# Fetches the packages while this host serves.
{%- from "nginx/map.jinja" import nginx, pinned, replaced with context %}
{%- import "saltern/packages.jinja" as packages %}
{{- packages.prefetch("nginx-upgrade-prefetch", "nginx", replaced, pinned, nginx.server.version) }}
