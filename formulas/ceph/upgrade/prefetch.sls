# Fetches the packages of all roles of this host while its daemons run.
{%- from "ceph/map.jinja" import packages with context %}
ceph-upgrade-prefetch:
  pkg.downloaded:
    - pkgs: {{ packages | json }}
    - refresh: True
