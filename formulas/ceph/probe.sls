# What a host needs to measure a Ceph cluster as its users use it: where the gateways are, and a key.
{%- from "ceph/map.jinja" import ceph with context %}
{%- set probe = ceph.probe %}
{%- set s3 = probe.s3 %}

ceph-probe-s3:
  {%- if probe.enabled and s3.endpoints and s3.get("secret_key") %}
  file.managed:
    - name: /etc/ceph/s3.probe.json
    - contents: |
        {{ {"endpoints": s3.endpoints | unique | sort | list, "access_key": s3.access_key,
            "secret_key": s3.secret_key} | json(sort_keys=True) }}
    - user: root
    - group: root
    - mode: "0600"
    - makedirs: True
    - show_changes: False
  {%- else %}
  file.absent:
    - name: /etc/ceph/s3.probe.json
  {%- endif %}
