# Replaces the packages of the stopped member, Erlang with them.
{%- from "rabbitmq/map.jinja" import replaced with context %}
{%- import "saltern/packages.jinja" as packages %}
{{- packages.install("rabbitmq-upgrade-install", "rabbitmq", replaced) }}
