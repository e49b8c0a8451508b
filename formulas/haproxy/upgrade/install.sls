# Replaces the packages; what runs goes on as it was started.
{%- from "haproxy/map.jinja" import replaced with context %}
{%- import "saltern/packages.jinja" as packages %}
{{- packages.install("haproxy-upgrade-install", "haproxy", replaced) }}
