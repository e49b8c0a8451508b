# Replaces the packages; what runs goes on as it was started.
{%- from "nginx/map.jinja" import replaced with context %}
{%- import "saltern/packages.jinja" as packages %}
{{- packages.install("nginx-upgrade-install", "nginx", replaced) }}
