# cinder-scheduler: picks the back end of a volume.
{%- include "saltern/guard.jinja" %}
{%- from "cinder/lib.jinja" import cinder with context %}
{%- import "cinder/lib.jinja" as lib with context %}
{%- if cinder.scheduler.enabled %}
{{ lib.config("scheduler", {
      "DEFAULT": {"scheduler_default_filters": cinder.scheduler.filters | join(",") or none},
    }) }}
{{ lib.daemon("scheduler", "OpenStack Block Storage scheduler (cinder)") }}
{%- else %}
{{ lib.stopped("scheduler") }}
{%- endif %}
