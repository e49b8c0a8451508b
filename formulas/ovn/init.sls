{%- include "saltern/guard.jinja" %}
include:
{%- if "central" in pillar.get("ovn", {}) %}
  - ovn.central
{%- endif %}
{%- if "host" in pillar.get("ovn", {}) %}
  - ovn.host
{%- endif %}
