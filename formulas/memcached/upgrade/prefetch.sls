# Fetches the packages while this host serves.
{%- from "memcached/map.jinja" import memcached, pinned, replaced with context %}
{%- import "saltern/packages.jinja" as packages %}
{{- packages.prefetch("memcached-upgrade-prefetch", "memcached", replaced, pinned, memcached.server.version) }}
