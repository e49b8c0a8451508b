# Replaces the packages; what runs goes on as it was started.
{%- from "keepalived/map.jinja" import replaced with context %}
{%- import "saltern/packages.jinja" as packages %}
{{- packages.install("keepalived-upgrade-install", "keepalived", replaced) }}
