# Restarts the daemon with the new program. Guests that are here go on, in the QEMU that they were
# started with; those of a cloud were moved away before.
{%- from "libvirt/map.jinja" import libvirt with context %}
libvirt-upgrade-start:
  package_upgrade.renewed:
    - name: {{ libvirt.server.unit }}
