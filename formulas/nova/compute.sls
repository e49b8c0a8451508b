# nova-compute: runs instances by the libvirt of its host. It knows no database.
{%- include "saltern/guard.jinja" %}
{%- from "nova/lib.jinja" import nova, common with context %}
{%- from "saltern/host.jinja" import host with context %}
{%- import "nova/lib.jinja" as lib with context %}
{%- import "oslo/api.jinja" as api with context %}
{%- set compute = nova.compute %}
{%- set images, migration = compute.images, compute.migration %}
{%- set helper = api.prefix("nova", common) ~ "/bin/privsep-helper" %}
{%- set files = "--config-file " ~ lib.files("compute").split() | join(" --config-file ") %}
{%- set root = {"helper_command": "sudo -n " ~ helper ~ " " ~ files} %}
{#- section of the configuration -> what may be done there as root #}
{%- set contexts = {
      "nova_sys_admin": "nova.privsep.sys_admin_pctxt",
      "privsep_osbrick": "os_brick.privileged.default",
      "vif_plug_ovs_privileged": "vif_plug_ovs.privsep.vif_plug",
    } %}
{%- set config = {
  "DEFAULT": {
    "compute_driver": "libvirt.LibvirtDriver",
    "my_ip": compute.get("address"),
    "cpu_allocation_ratio": compute.allocation_ratio.get("cpu"),
    "ram_allocation_ratio": compute.allocation_ratio.get("ram"),
    "disk_allocation_ratio": compute.allocation_ratio.get("disk"),
    "reserved_host_memory_mb": compute.reserved.get("memory"),
    "reserved_host_cpus": compute.reserved.get("cpus"),
    "reserved_host_disk_mb": compute.reserved.disk * 1024 if "disk" in compute.reserved else none,
    "instance_build_timeout": compute.build_limit,
    "resume_guests_state_on_host_boot": compute.resume_guests,
  },
  "compute": {
    "cpu_dedicated_set": compute.cpu.get("dedicated"),
    "cpu_shared_set": compute.cpu.get("shared"),
  },
  "libvirt": {
    "virt_type": compute.virtualization,
    "cpu_mode": compute.cpu.get("mode"),
    "cpu_models": compute.cpu.models | join(",") if compute.cpu.get("models") else none,
    "images_type": images.type,
    "live_migration_scheme": "tls" if migration.tls else none,
    "live_migration_with_native_tls": migration.tls,
    "live_migration_inbound_addr": migration.get("address") or host.fqdn,
    "live_migration_bandwidth": migration.bandwidth,
    "live_migration_completion_timeout": migration.completion_timeout,
    "live_migration_timeout_action": migration.on_timeout,
    "live_migration_permit_post_copy": migration.post_copy,
  },
  "vnc": {
    "enabled": true if compute.console.get("url") else false,
    "novncproxy_base_url": compute.console.get("url"),
    "server_listen": compute.console.get("address") or host.address,
    "server_proxyclient_address": compute.console.get("address") or host.address,
  },
} %}
{%- if images.type == "rbd" %}
{%- do config.libvirt.update({
      "images_rbd_pool": images.pool,
      "images_rbd_ceph_conf": "/etc/ceph/ceph.conf",
      "rbd_user": images.user,
      "rbd_secret_uuid": images.libvirt_uuid,
      "disk_cachemodes": "network=writeback",
    }) %}
{%- endif %}
{%- set groups = [compute.socket_group] %}
{%- if compute.switch %}
{%- set database = "unix:" ~ compute.switch.socket %}
{%- do config.update({"os_vif_ovs": {"ovsdb_connection": database} }) %}
{%- do groups.append(compute.switch.group) %}
{%- endif %}
{%- for section in contexts %}
{%- do config.update({section: root}) %}
{%- endfor %}
{%- if compute.enabled and common.source.engine == "container" %}

nova-compute-engine:
  test.fail_without_changes:
    - name: >-
        nova:common:source:engine is container: a compute plugs devices into the host and starts guests
        on it, so it runs there. Set venv or pkg.
    - failhard: True
{%- elif compute.enabled %}
{{ lib.config("compute", config) }}

nova-compute-tools:
  pkg.installed:
    - pkgs: {{ compute.packages | json }}

nova-compute-instances:
  file.directory:
    - name: /var/lib/nova/instances
    - user: nova
    - group: nova
    # QEMU's user reads disks there
    - mode: "0751"

# one call of one helper, whose arguments choose among these contexts
nova-compute-sudo:
  file.managed:
    - name: /etc/sudoers.d/nova
    - contents:
      - "# Managed by Salt: local changes are overwritten."
      - "nova ALL = (root) NOPASSWD: {{ helper }} ^{{ files | replace(".", "[.]") }}
         --privsep_context ({{ contexts.values() | sort | join("|") | replace(".", "[.]") }})
         --privsep_sock_path /tmp/tmp[a-z0-9_]+/privsep[.]sock$"
    - user: root
    - group: root
    - mode: "0440"
    - check_cmd: /usr/sbin/visudo -cf
    - require:
      - pkg: nova-compute-tools
{{ lib.daemon("compute", "OpenStack Compute, a hypervisor (nova)", privileged=true,
              groups=groups, after=["libvirtd.service", "openvswitch-access.service"],
              watch=[{"file": "nova-compute-sudo"}, {"file": "nova-compute-instances"}]) }}
{%- else %}
{{ lib.stopped("compute") }}
{%- endif %}
