# What the processes of the control plane share on top of nova.conf: databases, quotas, cache. The
# roles bring it whose data it is made of (nova.database, nova.api).
{%- include "saltern/guard.jinja" %}
{%- from "nova/lib.jinja" import nova, common, here, units with context %}
{%- import "oslo/api.jinja" as api with context %}
{%- import "oslo/cache.jinja" as cache with context %}
{%- import "oslo/lib.jinja" as oslo with context %}
{%- set urls = {} %}
{%- set pool = {"max_retries": 10, "connection_recycle_time": 280} %}
{%- set sections = {"cache": cache.section("nova", common.cache) | load_json,
                    "quota": nova.api.quota} %}
{%- set cells = {} %}
{%- if "database" in here %}
{%- set database = nova.database %}
{%- set given = salt["slsutil.merge"](dict(nova.connection, name="nova_api"), database.api) %}
{%- do sections.update({"api_database": dict(pool, connection=oslo.database_url(given),
                                             max_pool_size=given.pool, max_overflow=given.pool)}) %}
{%- set given = salt["slsutil.merge"](dict(nova.connection, name="nova_cell0"), database.cell0) %}
{#- nothing is ever sent to it #}
{%- do cells.update({"cell0": {"database": oslo.database_url(given), "transport": "none:///"} }) %}
{%- for name, cell in database.cell | dictsort %}
{%- set given = salt["slsutil.merge"](dict(nova.connection, name="nova"), cell.database) %}
{%- do cells.update({name: {
      "database": oslo.database_url(given),
      "transport": cell.get("transport") or oslo.transport_url(common.message_queue),
      "disabled": not cell.get("enabled", true),
    } }) %}
{%- if loop.first %}
{#- the cell of this control plane #}
{%- do sections.update({"database": dict(pool, connection=oslo.database_url(given),
                                         max_pool_size=given.pool, max_overflow=given.pool)}) %}
{%- endif %}
{%- endfor %}
{%- endif %}
{{ cache.tunnel("nova", "control", common.cache) }}

nova-control-config:
  file.managed:
    - name: /etc/nova/nova-control.conf
    - source: salt://saltern/files/ini.jinja
    - template: jinja
    - context:
        data: {{ sections | json }}
    - user: root
    - group: nova
    - mode: "0640"
    - show_changes: False
{%- if cells %}

# what the mappings of the cells are to be; they are written by a program that reads it as Nova's user
nova-control-cells:
  file.managed:
    - name: /etc/nova/cells.json
    - contents: {{ cells | json | json }}
    - user: root
    - group: nova
    - mode: "0640"
    - show_changes: False
{%- endif %}
{{ api.restarts("nova-control", units.values() | reject("equalto", "nova-compute") | list,
                [{"file": "nova-control-config"}]) }}
