# Replaces the packages of the stopped member.
{%- from "galera/map.jinja" import replaced with context %}
{%- import "saltern/packages.jinja" as packages %}
{{- packages.install("galera-upgrade-install", "galera", replaced) }}
