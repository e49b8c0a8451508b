{%- include "saltern/guard.jinja" %}
{%- set roles = pillar.get("salt", {}) %}
include:
  - salt.minion
{%- if "master" in roles %}
  - salt.master
{%- endif %}
{%- if "api" in roles %}
  - salt.api
{%- endif %}
