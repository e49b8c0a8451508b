# nova-conductor: builds instances, and writes to the database for the computes.
{%- include "saltern/guard.jinja" %}
{%- from "nova/lib.jinja" import nova with context %}
{%- import "nova/lib.jinja" as lib with context %}
{%- if nova.conductor.enabled %}
{{ lib.config("conductor", {"conductor": {"workers": nova.conductor.workers} }) }}
{{ lib.daemon("conductor", "OpenStack Compute conductor (nova)") }}
{%- else %}
{{ lib.stopped("conductor") }}
{%- endif %}
