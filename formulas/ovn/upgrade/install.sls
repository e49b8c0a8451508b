# Replaces the packages of this host.
{%- from "ovn/map.jinja" import packages with context %}
ovn-upgrade-install:
  pkg.latest:
    - pkgs: {{ packages | json }}
    - refresh: True
