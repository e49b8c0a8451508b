# Replaces the packages; what runs goes on as it was started.
{%- from "libvirt/map.jinja" import replaced with context %}
{%- import "saltern/packages.jinja" as packages %}
{{- packages.install("libvirt-upgrade-install", "libvirt", replaced) }}
