# cinder-volume: drives the back ends that this host serves. Where it serves none it stands by: all is
# there but the process.
{%- include "saltern/guard.jinja" %}
{%- from "cinder/lib.jinja" import cinder, volume, served with context %}
{%- from "saltern/host.jinja" import host with context %}
{%- import "cinder/lib.jinja" as lib with context %}
{%- if volume.enabled %}
{%- set engines = [] %}
{%- set sections = {} %}
{%- set watch = [] %}
{%- for name, backend in served | dictsort %}
{%- do engines.append(backend.engine) %}
{#- a shared one keeps its owner's name when another host serves it #}
{%- set options = {
      "volume_backend_name": backend.get("type", name),
      "backend_host": backend.get("host", "cinder")
                      if backend.engine != "lvm" and not volume.active_active else none} %}
{%- if backend.engine == "ceph" %}
{%- do options.update({
      "volume_driver": "cinder.volume.drivers.rbd.RBDDriver",
      "rbd_ceph_conf": "/etc/ceph/ceph.conf",
      "rbd_pool": backend.pool,
      "rbd_user": backend.user,
      "rbd_secret_uuid": backend.libvirt_uuid,
      "rbd_exclusive_cinder_pool": true,
      "report_discard_supported": true,
    }) %}
{%- elif backend.engine == "nfs" %}
{%- do watch.append({"file": "cinder-volume-shares-" ~ name}) %}
{%- do options.update({
      "volume_driver": "cinder.volume.drivers.nfs.NfsDriver",
      "nfs_shares_config": "/etc/cinder/shares-" ~ name,
      "nfs_mount_point_base": "/var/lib/cinder/mnt",
    }) %}
cinder-volume-shares-{{ name }}:
  file.managed:
    - name: /etc/cinder/shares-{{ name }}
    - contents: {{ backend.shares | json }}
    - user: root
    - group: cinder
    - mode: "0640"
    - require:
      - file: cinder-volume-mounts
{% elif backend.engine == "lvm" %}
{%- set protocol = backend.get("protocol", "iscsi") %}
{%- do engines.append(protocol) %}
{%- do options.update({
      "volume_driver": "cinder.volume.drivers.lvm.LVMVolumeDriver",
      "volume_group": backend.group,
      "target_helper": "lioadm" if protocol == "iscsi" else "nvmet",
      "target_protocol": "iscsi" if protocol == "iscsi" else "nvmet_tcp",
      "target_ip_address": host.address,
    }) %}
cinder-volume-group-{{ name }}:
  cinder_volume.group_usable:
    - name: {{ name }}
    - group: {{ backend.group }}
    - require:
      - pkg: cinder-volume-tools
    - require_in:
      - service: cinder-volume-service
{% endif %}
{%- do sections.update({name: dict(options, **backend.get("options", {})) }) %}
{%- endfor %}
{%- if "nfs" in engines %}
cinder-volume-mounts:
  file.directory:
    - name: /var/lib/cinder/mnt
    - user: cinder
    - group: cinder
    - mode: "0750"
{% endif %}
{{ lib.config("volume", dict(sections, DEFAULT={
      "enabled_backends": served | sort | join(","),
      "cluster": volume.cluster if volume.active_active else none,
      "image_conversion_dir": "/var/lib/cinder/conversion",
    })) }}
{{ lib.helpers("volume", engines) }}
{%- if served %}
{{ lib.daemon("volume", "OpenStack Block Storage volumes (cinder)", watch=watch, privileged=true) }}
{%- else %}
{{ lib.stopped("volume") }}
{%- endif %}
{%- else %}
{{ lib.stopped("volume") }}
{%- endif %}
