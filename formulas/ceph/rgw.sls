# An object gateway: S3 and Swift over TLS.
{%- from "ceph/map.jinja" import ceph with context %}
{%- set rgw = ceph.rgw %}
{%- if rgw.enabled %}

ceph-rgw-packages:
  pkg.installed:
    - pkgs: {{ rgw.packages | json }}

ceph-rgw-directory:
  file.directory:
    - name: /var/lib/ceph/radosgw/ceph-rgw
    - user: ceph
    - group: ceph
    - mode: "0750"
    - makedirs: True
    - require:
      - pkg: ceph-rgw-packages

ceph-rgw-key:
  file.managed:
    - name: /var/lib/ceph/radosgw/ceph-rgw/keyring
    - source: salt://ceph/files/keyring.jinja
    - template: jinja
    - context:
        entity: client.rgw
        key: {{ rgw.key | json }}
    - user: ceph
    - group: ceph
    - mode: "0600"
    - show_changes: False
    - require:
      - file: ceph-rgw-directory
{%- if rgw.identity %}

ceph-rgw-password:
  file.managed:
    - name: /etc/ceph/rgw.password
    - contents: {{ rgw.identity.password | json }}
    - contents_newline: False
    - user: root
    - group: ceph
    - mode: "0640"
    - show_changes: False
    - require:
      - pkg: ceph-rgw-packages
    - watch_in:
      - service: ceph-rgw-running
{%- endif %}

# the daemon reads the host's key, which belongs to that group
ceph-rgw-unit:
  file.managed:
    - name: /etc/systemd/system/ceph-radosgw@.service.d/saltern.conf
    - contents:
      - "# Managed by Salt: local changes are overwritten."
      - "[Service]"
      - SupplementaryGroups={{ rgw.tls_group }}
    - user: root
    - group: root
    - mode: "0644"
    - makedirs: True

ceph-rgw-reload:
  module.run:
    - service.systemctl_reload: []
    - onchanges:
      - file: ceph-rgw-unit

ceph-rgw-running:
  service.running:
    - names: [ceph-radosgw.target, ceph-radosgw@rgw]
    - enable: True
    - require:
      - file: ceph-rgw-key
      - module: ceph-rgw-reload
{%- for name, user in rgw.user | dictsort if user %}

ceph-rgw-user-{{ name }}:
  {%- if user.get("ensure") == "absent" %}
  ceph_rgw_user.absent:
    - name: {{ name }}
  {%- else %}
  ceph_rgw_user.present:
    - name: {{ name }}
    {%- for option in ["access_key", "secret_key", "display_name", "max_buckets", "quota_bytes", "quota_objects"] if option in user %}
    - {{ option }}: {{ user[option] | json }}
    {%- endfor %}
  {%- endif %}
    - require:
      - service: ceph-rgw-running
{%- endfor %}
{%- else %}

ceph-rgw-disabled:
  service.dead:
    - name: ceph-radosgw@rgw
    - enable: False
{%- endif %}
