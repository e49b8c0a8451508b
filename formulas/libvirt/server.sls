# libvirt and QEMU. The daemon is reached by its group on this host, and by the other hosts of the
# role over TLS. Guests go on while it restarts.
{%- from "libvirt/map.jinja" import libvirt, pinned with context %}
{%- from "saltern/host.jinja" import host, topology with context %}
{%- import "saltern/packages.jinja" as apt %}
{%- set server = libvirt.server %}
{%- set tls, qemu = server.tls, server.qemu %}
{%- set members = topology.get("roles", {}).get("libvirt.server", []) or [host.fqdn] %}
{%- set subjects = [] %}
{%- for id in members %}{% do subjects.append("CN=" ~ id) %}{% endfor %}
{%- set config = {
      "unix_sock_group": server.socket_group,
      "auth_unix_ro": "none",
      "auth_unix_rw": "none",
      "auth_tls": "none",
      "ca_file": tls.ca,
      "cert_file": tls.certificate,
      "key_file": tls.key,
      "tls_allowed_dn_list": subjects,
    } %}
{%- do config.update(server.config) %}
{%- set options = {
      "user": qemu.user,
      "group": qemu.group,
      "max_files": qemu.max_files,
      "migration_address": server.listen.address or host.address,
      "migration_host": host.fqdn,
      "migration_port_min": qemu.migration_ports[0],
      "migration_port_max": qemu.migration_ports[1],
      "default_tls_x509_cert_dir": "/etc/pki/qemu",
      "default_tls_x509_verify": true,
      "migrate_tls_force": true,
    } %}
{%- do options.update(qemu.options) %}
{%- set links = {
      "/etc/pki/CA/cacert.pem": tls.ca,
      "/etc/pki/libvirt/clientcert.pem": tls.certificate,
      "/etc/pki/libvirt/private/clientkey.pem": tls.key,
      "/etc/pki/qemu/ca-cert.pem": tls.ca,
      "/etc/pki/qemu/server-cert.pem": tls.certificate,
      "/etc/pki/qemu/server-key.pem": tls.key,
      "/etc/pki/qemu/client-cert.pem": tls.certificate,
      "/etc/pki/qemu/client-key.pem": tls.key,
    } %}
{%- if server.enabled %}
{{- apt.pin("libvirt-server", "libvirt", pinned, server.version) }}

libvirt-server-packages:
  pkg.installed:
    - pkgs: {{ (server.packages + (server.rbd_packages if server.rbd else [])) | json }}
    - install_recommends: False

libvirt-server-key-group:
  group.present:
    - name: {{ tls.group }}
    - system: True
    - addusers: [{{ qemu.user }}]
    - require:
      - pkg: libvirt-server-packages

libvirt-server-config:
  file.managed:
    - name: /etc/libvirt/libvirtd.conf
    - source: salt://libvirt/files/config.jinja
    - template: jinja
    - context:
        data: {{ config | json }}
    - user: root
    - group: root
    - mode: "0644"
    - require:
      - pkg: libvirt-server-packages

libvirt-server-qemu:
  file.managed:
    - name: /etc/libvirt/qemu.conf
    - source: salt://libvirt/files/config.jinja
    - template: jinja
    - context:
        data: {{ options | json }}
    - user: root
    - group: root
    - mode: "0600"
    - require:
      - pkg: libvirt-server-packages
{%- for link, target in links | dictsort %}

libvirt-server-link-{{ link.replace("/etc/pki/", "").replace("/", "-").replace(".pem", "") }}:
  file.symlink:
    - name: {{ link }}
    - target: {{ target }}
    - makedirs: True
    - require:
      - pkg: libvirt-server-packages
{%- endfor %}

# systemd makes the sockets, so what the daemon's configuration says of them does not count
libvirt-server-socket:
  file.managed:
    - name: /etc/systemd/system/libvirtd.socket.d/saltern.conf
    - contents:
      - "# Managed by Salt: local changes are overwritten."
      - "[Socket]"
      - SocketMode=0660
      - SocketGroup={{ server.socket_group }}
    - user: root
    - group: root
    - mode: "0644"
    - makedirs: True

libvirt-server-socket-tls:
  file.managed:
    - name: /etc/systemd/system/libvirtd-tls.socket.d/saltern.conf
    - contents:
      - "# Managed by Salt: local changes are overwritten."
      - "[Socket]"
      - "ListenStream="
      - ListenStream={{ server.listen.address or host.address }}:{{ server.listen.port or 16514 }}
      - FreeBind=true
    - user: root
    - group: root
    - mode: "0644"
    - makedirs: True

libvirt-server-unit:
  file.managed:
    - name: /etc/systemd/system/{{ server.unit }}.service.d/saltern.conf
    - contents:
      - "# Managed by Salt: local changes are overwritten."
      - "[Service]"
      - "# it would end after two idle minutes, and its guests would be nobody's"
      - "Environment=LIBVIRTD_ARGS="
      - "# of each guest, too, where the daemon may not raise it"
      # a guest gets one more than its limit, and a container's root cannot go above its own
      - LimitNOFILE={{ [qemu.max_files + 1, 8192] | max }}
    - user: root
    - group: root
    - mode: "0644"
    - makedirs: True

libvirt-server-reload:
  module.run:
    - service.systemctl_reload: []
    - onchanges:
      - file: libvirt-server-socket
      - file: libvirt-server-socket-tls
      - file: libvirt-server-unit

libvirt-server-certificate:
  pki_host.stamp:
    - name: /etc/libvirt/certificate.sha256
    - require:
      - pkg: libvirt-server-packages

# a daemon that does not begin tells it to its journal alone
libvirt-server-certificate-fits:
  libvirt_host.certificate:
    - name: {{ tls.certificate }}

# a socket cannot be changed while the daemon has it: both stop, then the sockets come first
libvirt-server-sockets:
  libvirt_host.sockets:
    - name: {{ server.unit }}
    - sockets: {{ ["libvirtd.socket"] + (["libvirtd-tls.socket"] if server.listen.port else []) }}
    - unwanted: {{ [] if server.listen.port else ["libvirtd-tls.socket"] }}
    - require:
      - pkg: libvirt-server-packages
      - module: libvirt-server-reload

libvirt-server-running:
  service.running:
    - name: {{ server.unit }}
    - enable: True
    - require:
      - libvirt_host: libvirt-server-sockets
      - libvirt_host: libvirt-server-certificate-fits
      - group: libvirt-server-key-group
    - watch:
      - file: libvirt-server-config
      - file: libvirt-server-qemu
      - file: libvirt-server-unit
      - pki_host: libvirt-server-certificate

libvirt-server-no-network:
  libvirt_host.network_absent:
    - name: default
    - require:
      - service: libvirt-server-running
{%- for label, secret in server.rbd | dictsort %}

libvirt-server-rbd-{{ label }}:
  libvirt_host.secret:
    - name: {{ label }}
    - uuid: {{ secret.uuid }}
    - usage: client.{{ secret.user }}
    - key: {{ secret.key | json }}
    - require:
      - service: libvirt-server-running
{%- endfor %}
{%- else %}

libvirt-server-disabled:
  service.dead:
    - names: [libvirtd-tls.socket, libvirtd-ro.socket, libvirtd-admin.socket, libvirtd.socket, {{ server.unit }}]
    - enable: False
{%- endif %}
