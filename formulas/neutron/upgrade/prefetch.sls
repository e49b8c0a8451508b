# The new release's code, beside the one that runs.
{%- import "neutron/map.jinja" as map with context %}
{%- import "oslo/upgrade.jinja" as upgrade with context %}
{#- what a host has of it runs in one environment #}
{%- set role = "server" if "server" in pillar.neutron else "ovn_metadata" %}
{{ upgrade.prefetch("neutron", map.neutron[role]) }}
