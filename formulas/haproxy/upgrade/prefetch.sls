# Fetches the packages while this host serves.
{%- from "haproxy/map.jinja" import haproxy, pinned, replaced with context %}
{%- import "saltern/packages.jinja" as packages %}
{{- packages.prefetch("haproxy-upgrade-prefetch", "haproxy", replaced, pinned, haproxy.proxy.version) }}
