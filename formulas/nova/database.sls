# Nova's databases: schemas, cells and the hosts in them. The first host of the control plane migrates
# and registers, the others find it done.
{%- include "saltern/guard.jinja" %}
{%- from "nova/lib.jinja" import nova, common with context %}
{%- import "oslo/api.jinja" as api with context %}
{%- if nova.database.enabled %}

include:
  - nova.control
{%- if common.source.engine != "container" %}

nova-database-cells:
  nova_database.registered:
    - name: cells
    - venv: {{ api.prefix("nova", common) }}
    - require:
      - file: nova-control-config
      - file: nova-control-cells
{%- set days = nova.database.archive_after %}
{%- for kind in ["service", "timer"] %}

nova-database-archive-{{ kind }}:
  {%- if days %}
  file.managed:
    - name: /etc/systemd/system/nova-archive.{{ kind }}
    - source: salt://nova/files/archive.{{ kind }}.jinja
    - template: jinja
    - context:
        days: {{ days }}
        program: {{ api.prefix("nova", common) }}/bin/nova-manage
    - user: root
    - group: root
    - mode: "0644"
    - require_in:
      - service: nova-database-archive
  {%- else %}
  file.absent:
    - name: /etc/systemd/system/nova-archive.{{ kind }}
    - require:
      - service: nova-database-archive
  {%- endif %}
{%- endfor %}

nova-database-archive:
  service.{{ "running" if days else "dead" }}:
    - name: nova-archive.timer
    - enable: {{ days > 0 }}
    {%- if days %}
    - watch:
      - file: nova-database-archive-timer
    {%- endif %}
{%- endif %}
{%- else %}

nova-database-cells:
  test.nop:
    - name: the databases of Nova are left alone
{%- endif %}
