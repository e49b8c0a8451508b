# Replaces the packages; what runs goes on as it was started.
{%- from "memcached/map.jinja" import replaced with context %}
{%- import "saltern/packages.jinja" as packages %}
{{- packages.install("memcached-upgrade-install", "memcached", replaced) }}
