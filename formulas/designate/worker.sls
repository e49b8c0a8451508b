# designate-worker: makes zones on name servers, by rndc or by their API, and asks whether they have them.
{%- include "saltern/guard.jinja" %}
{%- from "designate/lib.jinja" import designate, common with context %}
{%- import "designate/lib.jinja" as lib with context %}
{%- set worker = designate.worker %}
{%- if worker.enabled %}
{#- rndc needs its key and no other right, and the driver runs it by the helper of those who become root #}
{{ lib.settings("worker", {
      "DEFAULT": {"root_helper": "/usr/bin/env"},
      "service:worker": {"workers": worker.workers},
    }) }}

designate-worker-tools:
  pkg.installed:
    - pkgs: {{ worker.packages | json }}
{%- set keys = [] %}
{%- for name, key in worker.rndc_key | dictsort if key %}
{%- do keys.append({"file": "designate-worker-key-" ~ name}) %}

designate-worker-key-{{ name }}:
  file.managed:
    - name: /etc/designate/rndc-{{ name }}.key
    - contents: {{ ('key "' ~ name ~ '" { algorithm ' ~ key.algorithm ~ '; secret "' ~ key.secret ~ '"; };') | json }}
    - user: root
    - group: designate
    - mode: "0640"
    - show_changes: False
    - require_in:
      - service: designate-worker-service
{%- endfor %}
{#- PowerDNS is asked whether it has a zone with no word about the authority, so the library's default is set #}
{{ lib.daemon("worker", "OpenStack DNS worker (designate)", watch=[{"pkg": "designate-worker-tools"}],
              environ={"REQUESTS_CA_BUNDLE": common.identity.ca}) }}
{%- else %}
{{ lib.stopped("worker") }}
{%- endif %}
