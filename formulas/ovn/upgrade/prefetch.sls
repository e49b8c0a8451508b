# Fetches the packages of all roles of this host while its daemons run.
{%- from "ovn/map.jinja" import packages with context %}
ovn-upgrade-prefetch:
  pkg.downloaded:
    - pkgs: {{ packages | json }}
    - refresh: True
