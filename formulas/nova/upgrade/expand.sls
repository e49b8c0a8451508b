# What the new release adds to the schemas of the API and of the cells, while the old one serves. Nova's
# migrations only add; what takes data along comes at the end (nova_database.finish).
{%- from "nova/lib.jinja" import common with context %}
{%- import "oslo/api.jinja" as api with context %}
{%- if common.source.engine == "venv" %}
nova-upgrade-expand:
  nova_database.registered:
    - name: cells
    - venv: {{ api.prefix("nova", common) }}
{%- else %}
nova-upgrade-expand:
  test.nop:
    - name: the schema is brought up to date when the role is applied
{%- endif %}
