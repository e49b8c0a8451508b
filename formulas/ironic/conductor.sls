# ironic-conductor: speaks with the controllers of machines, and gives them images to boot from, over HTTP by
# nginx on the same host and, where they boot from the network, over TFTP.
{%- include "saltern/guard.jinja" %}
{%- from "ironic/lib.jinja" import ironic, common, packaged with context %}
{%- from "ovn/map.jinja" import bracketed with context %}
{%- from "saltern/host.jinja" import host with context %}
{%- import "ironic/lib.jinja" as lib with context %}
{%- import "oslo/api.jinja" as api with context %}
{%- set conductor = ironic.conductor %}
{%- set address = conductor.address or host.address %}
{#- kind -> interfaces, of all drivers; what the model wants of a kind must be one that a driver has #}
{%- set known = dict(ironic.any_driver) %}
{%- for driver in conductor.drivers %}
{%- for kind, names in ironic.drivers[driver] | dictsort %}
{%- do known.update({kind: known.get(kind, []) + names | reject("in", known.get(kind, [])) | list}) %}
{%- endfor %}
{%- endfor %}
{%- for kind, names in conductor.interfaces | dictsort %}
{%- set foreign = names | reject("in", known.get(kind, [])) | list %}
{%- if foreign %}
{{- raise("ironic:conductor:interfaces:" ~ kind ~ " names " ~ foreign | join(", ") ~ ", which no driver of "
          ~ conductor.drivers | join(", ") ~ " has; name some of " ~ known.get(kind, []) | join(", ")) -}}
{%- endif %}
{%- do known.update({kind: names}) %}
{%- endfor %}
{#- a driver without an interface of a kind would keep the conductor from its start #}
{%- for driver in conductor.drivers %}
{%- for kind, names in ironic.drivers[driver] | dictsort if not names | select("in", known[kind]) | list %}
{{- raise("ironic:conductor:interfaces:" ~ kind ~ " leaves the driver " ~ driver ~ " without one; add one of "
          ~ names | join(", ")) -}}
{%- endfor %}
{%- endfor %}
{%- set enabled = {"enabled_network_interfaces": conductor.network.interfaces | join(",")} %}
{%- for kind, names in known | dictsort %}
{%- do enabled.update({"enabled_" ~ kind ~ "_interfaces": names | join(",")}) %}
{%- endfor %}
{%- set network_boot = "ipxe" in known.boot %}
{%- set packages = [] %}
{%- for key in ["any"] + conductor.drivers + known.boot %}
{%- do packages.extend(conductor.packages.get(key, [])) %}
{%- endfor %}
{%- set images, network = conductor.images, conductor.network %}
{%- if conductor.enabled %}
{{ lib.settings("conductor", {
      "DEFAULT": dict(enabled,
        my_ip=address,
        enabled_hardware_types=conductor.drivers | join(","),
        graceful_shutdown_timeout=45),
      "conductor": {
        "conductor_group": conductor.get("group"),
        "automated_clean": conductor.automated_clean,
        "deploy_kernel": images.get("kernel"),
        "deploy_ramdisk": images.get("ramdisk"),
        "bootloader": images.get("bootloader"),
      },
      "deploy": {
        "http_url": ("https" if conductor.http.tls else "http") ~ "://"
                    ~ (host.fqdn if conductor.http.tls else bracketed(address)) ~ ":" ~ conductor.http.port,
        "http_root": "/var/lib/ironic/httpboot",
      },
      "neutron": {
        "cleaning_network": network.get("cleaning"),
        "provisioning_network": network.get("provisioning"),
        "inspection_network": network.get("inspection"),
        "rescuing_network": network.get("rescuing"),
        "servicing_network": network.get("servicing"),
      },
      "pxe": {
        "tftp_server": address,
        "tftp_root": "/var/lib/ironic/tftpboot",
        "tftp_master_path": "/var/lib/ironic/tftpboot/master_images",
        "images_path": "/var/lib/ironic/images",
        "instance_master_path": "/var/lib/ironic/master_images",
        "loader_file_paths": conductor.loaders if network_boot else none,
      },
    }) }}

ironic-conductor-tools:
  pkg.installed:
    - pkgs: {{ packages | unique | sort | json }}
{%- if packaged %}

ironic-conductor-package:
  pkg.installed:
    - pkgs: {{ common.pkg.roles.conductor | json }}
    - require_in:
      - service: ironic-conductor-service
{%- endif %}

ironic-conductor-directories:
  file.directory:
    - names:
      - /var/lib/ironic/images:
        - mode: "0750"
      - /var/lib/ironic/master_images:
        - mode: "0750"
      # nginx and the server of TFTP read there
      - /var/lib/ironic/httpboot:
        - mode: "0755"
      - /var/lib/ironic/tftpboot:
        - mode: "0755"
    - user: ironic
    - group: ironic
    - require_in:
      - service: ironic-conductor-service
{%- if network_boot %}

ironic-conductor-tftp-map:
  file.managed:
    - name: /etc/ironic/tftp.map
    # the server sees nothing above its directory, and is asked for whole paths
    - contents: 'r ^/var/lib/ironic/tftpboot/ /'
    - user: root
    - group: root
    - mode: "0644"

ironic-conductor-tftp-unit:
  file.managed:
    - name: /etc/systemd/system/ironic-tftp.service
    - source: salt://ironic/files/tftp.service.jinja
    - template: jinja
    - context:
        address: {{ bracketed(address) }}
    - user: root
    - group: root
    - mode: "0644"

# the package has a service of its own, for all addresses
ironic-conductor-tftp-other:
  service.dead:
    - name: tftpd-hpa
    - enable: False
    - require:
      - pkg: ironic-conductor-tools

ironic-conductor-tftp:
  service.running:
    - name: ironic-tftp
    - enable: True
    - require:
      - service: ironic-conductor-tftp-other
      - file: ironic-conductor-directories
    - watch:
      - file: ironic-conductor-tftp-map
      - file: ironic-conductor-tftp-unit
{%- else %}

ironic-conductor-tftp:
  service.dead:
    - name: ironic-tftp
    - enable: False
{%- endif %}
{{ api.daemon("ironic", common, "conductor", "ironic-conductor", lib.arguments("conductor").split(),
              [{"file": "ironic-conductor-config"}, {"pkg": "ironic-conductor-tools"}],
              description="OpenStack Bare Metal conductor (ironic)") }}
{%- else %}
{{ lib.stopped("conductor") }}

ironic-conductor-tftp:
  service.dead:
    - name: ironic-tftp
    - enable: False
{%- endif %}
