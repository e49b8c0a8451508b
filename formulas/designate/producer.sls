# designate-producer: what is done at intervals, over all zones.
{%- include "saltern/guard.jinja" %}
{%- from "designate/lib.jinja" import designate, units with context %}
{%- import "designate/lib.jinja" as lib with context %}
{%- if designate.producer.enabled %}
{{ lib.settings("producer", {"service:producer": {"workers": designate.producer.workers} }) }}
{%- endif %}
{%- if "producer" in units %}
{{ lib.daemon("producer", "OpenStack DNS producer (designate)") }}
{%- else %}
{{ lib.stopped("producer") }}
{%- endif %}
