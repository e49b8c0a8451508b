# Stops the daemon and removes its configuration. Guests that run go on, nobody's; packages, the
# definitions of guests and their disks stay.
{%- from "libvirt/map.jinja" import libvirt with context %}
libvirt-clean-service:
  service.dead:
    - names:
      - libvirtd-tls.socket
      - libvirtd-ro.socket
      - libvirtd-admin.socket
      - libvirtd.socket
      - {{ libvirt.server.unit }}
    - enable: False

libvirt-clean-files:
  file.absent:
    - names:
      - /etc/libvirt/libvirtd.conf
      - /etc/libvirt/qemu.conf
      - /etc/libvirt/certificate.sha256
      - /etc/systemd/system/libvirtd.socket.d/saltern.conf
      - /etc/systemd/system/libvirtd-tls.socket.d/saltern.conf
      - /etc/systemd/system/{{ libvirt.server.unit }}.service.d/saltern.conf
      - /etc/pki/CA/cacert.pem
      - /etc/pki/libvirt
      - /etc/pki/qemu
    - require:
      - service: libvirt-clean-service

libvirt-clean-reload:
  module.run:
    - service.systemctl_reload: []
    - onchanges:
      - file: libvirt-clean-files
