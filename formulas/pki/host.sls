# This host's key and certificate, and the authority its programs trust.
{%- from "pki/map.jinja" import pki with context %}
{%- from "saltern/host.jinja" import host with context %}
{%- set config = pki.host %}
{%- set local = config.ca_server in (none, "", grains["id"]) %}
{%- if local %}
include:
  - pki.ca
{%- endif %}

pki-host-group:
  group.present:
    - name: {{ config.group }}
    - system: True

pki-host-packages:
  pkg.installed:
    - name: ca-certificates

pki-host-directory:
  file.directory:
    - names:
      - {{ salt["file.dirname"](config.directory) }}
      - {{ config.directory }}
    - user: root
    - group: root
    - mode: "0755"

pki-host-certificate:
  pki_host.managed:
    - name: {{ config.directory }}
    - dns_names: {{ ([host.fqdn, host.name] + config.names) | unique | list | json }}
    - addresses: {{ ([host.address] + config.addresses) | unique | list | json }}
    - ca_server: {{ config.ca_server | json if not local else "null" }}
    - key_algo: {{ config.key.algo }}
    - key_size: {{ config.key.size }}
    - days_remaining: {{ config.days_remaining }}
    - group: {{ config.group }}
    - trust: {{ config.trust }}
    - require:
      - group: pki-host-group
      - file: pki-host-directory
      - pkg: pki-host-packages
      {%- if local %}
      - x509: pki-ca-certificate
      {%- endif %}

pki-host-trust:
  cmd.run:
    - name: update-ca-certificates
    - onchanges:
      - pki_host: pki-host-certificate
