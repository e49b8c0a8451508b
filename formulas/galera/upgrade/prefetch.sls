# Fetches the packages while this member is in service.
{%- from "galera/map.jinja" import galera, pinned, replaced with context %}
{%- import "saltern/packages.jinja" as packages %}
{{- packages.prefetch("galera-upgrade-prefetch", "galera", replaced, pinned, galera.server.version) }}
