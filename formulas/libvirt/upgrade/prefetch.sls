# Fetches the packages while this host serves.
{%- from "libvirt/map.jinja" import libvirt, pinned, replaced with context %}
{%- import "saltern/packages.jinja" as packages %}
{{- packages.prefetch("libvirt-upgrade-prefetch", "libvirt", replaced, pinned, libvirt.server.version) }}
