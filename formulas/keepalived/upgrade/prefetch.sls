# Fetches the packages while this host serves.
{%- from "keepalived/map.jinja" import keepalived, pinned, replaced with context %}
{%- import "saltern/packages.jinja" as packages %}
{{- packages.prefetch("keepalived-upgrade-prefetch", "keepalived", replaced, pinned, keepalived.vrrp.version) }}
