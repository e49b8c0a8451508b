# What is inside the cluster: settings, CRUSH rules, pools, file systems, users. Every monitor's
# host looks; what one wrote the others find there.
{%- from "ceph/map.jinja" import ceph with context %}
{%- set setup = ceph.setup %}
{%- if setup.enabled %}
{%- for who, options in setup.settings | dictsort if options %}

ceph-setup-settings-{{ who }}:
  ceph_config.present:
    - name: {{ who }}
    - options: {{ options | json }}
{%- endfor %}
{%- for name, rule in setup.rule | dictsort if rule %}

ceph-setup-rule-{{ name }}:
  ceph_crush.rule:
    - name: {{ name }}
    - domain: {{ rule.domain }}
    - root: {{ rule.get("root", "default") }}
    {%- if rule.get("class") %}
    - device_class: {{ rule["class"] }}
    {%- endif %}
{%- endfor %}
{%- for name, pool in setup.pool | dictsort if pool is not none %}

ceph-setup-pool-{{ name }}:
  {%- if pool.get("ensure") == "absent" %}
  ceph_pool.absent:
    - name: {{ name | json }}
  {%- else %}
  ceph_pool.present:
    - name: {{ name | json }}
    {%- if pool.get("rule") or setup.default_rule %}
    - rule: {{ pool.get("rule") or setup.default_rule }}
    {%- endif %}
    {%- for option in ["application", "size", "min_size", "autoscale", "pg_num", "bulk", "quota_bytes", "quota_objects", "compression"] if pool.get(option) is not none and option in pool %}
    - {{ option }}: {{ pool[option] | json }}
    {%- endfor %}
  {%- endif %}
{%- endfor %}
{%- for name, filesystem in setup.filesystem | dictsort if filesystem %}

ceph-setup-filesystem-{{ name }}:
  ceph_pool.filesystem:
    - name: {{ name }}
    - metadata: {{ filesystem.metadata }}
    - data: {{ filesystem.data }}
    - require:
      - ceph_pool: ceph-setup-pool-{{ filesystem.metadata }}
      - ceph_pool: ceph-setup-pool-{{ filesystem.data }}
{%- endfor %}
{%- if ceph.mon.host_key %}

ceph-setup-key-client.saltern:
  ceph_key.present:
    - name: client.saltern
    - key: {{ ceph.mon.host_key | json }}
    - caps: {{ salt["ceph_monitor.host_caps"]() | json }}
{%- endif %}
{%- for server in setup.metadata_servers %}

ceph-setup-key-mds.{{ server.name }}:
  ceph_key.present:
    - name: mds.{{ server.name }}
    - key: {{ server.key | json }}
    - caps: {mon: profile mds, mgr: profile mds, osd: 'allow rw tag cephfs *=*', mds: allow}
{%- endfor %}
{%- for name, user in setup.keyring | dictsort if user %}

ceph-setup-key-{{ name }}:
  {%- if user.get("ensure") == "absent" %}
  ceph_key.absent:
    - name: {{ name }}
  {%- else %}
  ceph_key.present:
    - name: {{ name }}
    - key: {{ user.key | json }}
    - caps: {{ user.caps | json }}
  {%- endif %}
{%- endfor %}
{%- endif %}
