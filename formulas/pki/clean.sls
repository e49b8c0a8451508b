# Takes the host's certificate away. The authority's key stays: without it no host of the cluster
# could ever be trusted again. Remove its directory by hand when the cluster is gone for good.
{%- from "pki/map.jinja" import pki with context %}
pki-clean-host:
  file.absent:
    - names:
      - {{ pki.host.directory }}
      - {{ pki.host.trust }}

pki-clean-trust:
  cmd.run:
    - name: update-ca-certificates --fresh
    - onchanges:
      - file: pki-clean-host
