# Fetches the packages while this member is in service.
{%- from "rabbitmq/map.jinja" import pinned, rabbitmq, replaced with context %}
{%- import "saltern/packages.jinja" as packages %}
{{- packages.prefetch("rabbitmq-upgrade-prefetch", "rabbitmq", replaced, pinned, rabbitmq.server.version) }}
