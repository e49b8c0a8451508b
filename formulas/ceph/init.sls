# Every role of Ceph that the model puts on this host.
{%- include "saltern/guard.jinja" %}
{%- set roles = pillar.get("ceph", {}) %}
include:
{%- for role in ["common", "mon", "mgr", "osd", "setup", "mds", "rgw", "client", "probe"] if role == "common" or role in roles %}
  - ceph.{{ role }}
{%- endfor %}
