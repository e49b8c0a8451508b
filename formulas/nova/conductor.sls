# nova-conductor: builds instances, and writes to the database for the computes.
{%- include "saltern/guard.jinja" %}
{%- from "nova/lib.jinja" import nova with context %}
{%- import "nova/lib.jinja" as lib with context %}
{%- import "oslo/api.jinja" as api with context %}
{%- if nova.conductor.enabled %}
{{ lib.config("conductor", {"conductor": {"workers": nova.conductor.workers} }) }}
{{ lib.daemon("conductor", "OpenStack Compute conductor (nova)") }}
{%- else %}
{{ lib.stopped("conductor") }}
{%- endif %}
{#- What looks for lost builds runs in Nova's own environment. -#}
{%- set limit = nova.conductor.lost_builds_after
      if nova.conductor.enabled and lib.common.source.engine != "container" else 0 %}
{%- set python = "/usr/bin/python3" if lib.common.source.engine == "pkg"
      else api.prefix("nova", lib.common) ~ "/bin/python" %}
{%- set arguments = [] %}
{%- for file in lib.files("conductor").split() %}
{%- do arguments.append("--config-file " ~ file) %}
{%- endfor %}
{%- if limit %}

nova-conductor-builds-program:
  file.managed:
    - name: /etc/nova/builds.py
    - source: salt://nova/files/builds.py
    - user: root
    - group: nova
    - mode: "0640"
    - require:
      - file: nova-conductor-config
{%- endif %}
{%- for kind in ["service", "timer"] %}

nova-conductor-builds-{{ kind }}:
  {%- if limit %}
  file.managed:
    - name: /etc/systemd/system/nova-builds.{{ kind }}
    - source: salt://nova/files/builds.{{ kind }}.jinja
    - template: jinja
    - context:
        limit: {{ limit }}
        python: {{ python }}
        arguments: {{ arguments | join(" ") }}
        environ: {{ lib.environ | json }}
    - user: root
    - group: root
    - mode: "0644"
    - require_in:
      - service: nova-conductor-builds
  {%- else %}
  file.absent:
    - name: /etc/systemd/system/nova-builds.{{ kind }}
    - require:
      - service: nova-conductor-builds
  {%- endif %}
{%- endfor %}

nova-conductor-builds:
  service.{{ "running" if limit else "dead" }}:
    - name: nova-builds.timer
    - enable: {{ limit > 0 }}
    {%- if limit %}
    - watch:
      - file: nova-conductor-builds-timer
    {%- endif %}
