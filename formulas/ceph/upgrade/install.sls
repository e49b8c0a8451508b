# Replaces the packages of this host, all at once: they fit each other only in one version.
# What runs keeps running what it was started from.
{%- from "ceph/map.jinja" import packages with context %}
ceph-upgrade-install:
  pkg.latest:
    - pkgs: {{ packages | json }}
    - refresh: True
