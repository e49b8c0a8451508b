# The manager of this host, beside a monitor, whose key makes its own.
{%- from "ceph/map.jinja" import ceph with context %}
{%- from "saltern/host.jinja" import host with context %}
{%- set mgr = ceph.mgr %}
{%- if mgr.enabled %}

ceph-mgr-packages:
  pkg.installed:
    - pkgs: {{ mgr.packages | json }}

{%- for name in mgr.stand_ins %}

ceph-mgr-stand-in-{{ name }}:
  file.managed:
    - name: /usr/share/ceph/mgr/{{ name }}.py
    - source: salt://ceph/files/mgr-{{ name }}.py
    - user: root
    - group: root
    - mode: "0644"
    - require:
      - pkg: ceph-mgr-packages
    - watch_in:
      - service: ceph-mgr-running
{%- endfor %}

ceph-mgr-key:
  ceph_key.daemon:
    - name: mgr.{{ host.name }}
    - path: /var/lib/ceph/mgr/ceph-{{ host.name }}/keyring
    - caps: {mon: allow profile mgr, osd: allow *, mds: allow *}
    - require:
      - pkg: ceph-mgr-packages

ceph-mgr-running:
  service.running:
    - names: [ceph-mgr.target, ceph-mgr@{{ host.name }}]
    - enable: True
    - require:
      - ceph_key: ceph-mgr-key

ceph-mgr-modules:
  ceph_config.modules:
    - name: modules of the managers
    - enabled: {{ mgr.modules | json }}
    - disabled: {{ mgr.modules_off | json }}
    - require:
      - service: ceph-mgr-running
  {%- if "prometheus" in mgr.modules %}

ceph-mgr-prometheus:
  ceph_config.present:
    - name: mgr
    - options:
        mgr/prometheus/server_port: {{ mgr.prometheus.port }}
    - require:
      - ceph_config: ceph-mgr-modules
  {%- endif %}
{%- else %}

ceph-mgr-disabled:
  service.dead:
    - name: ceph-mgr@{{ host.name }}
    - enable: False
{%- endif %}
