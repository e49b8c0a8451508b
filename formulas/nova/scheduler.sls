# nova-scheduler: picks hosts for instances, and registers new computes.
{%- include "saltern/guard.jinja" %}
{%- from "nova/lib.jinja" import nova with context %}
{%- import "nova/lib.jinja" as lib with context %}
{%- set scheduler = nova.scheduler %}
{%- if scheduler.enabled %}
{{ lib.config("scheduler", {
      "scheduler": {
        "workers": scheduler.workers,
        "discover_hosts_in_cells_interval": scheduler.discover_interval,
      },
      "filter_scheduler": dict(scheduler.weights, enabled_filters=scheduler.filters | join(",") or none),
    }) }}
{{ lib.daemon("scheduler", "OpenStack Compute scheduler (nova)") }}
{%- else %}
{{ lib.stopped("scheduler") }}
{%- endif %}
