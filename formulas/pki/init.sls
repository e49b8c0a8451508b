{%- include "saltern/guard.jinja" %}
{%- from "pki/map.jinja" import pki with context %}
include:
{%- if "ca" in pillar.get("pki", {}) %}
  - pki.ca
{%- endif %}
  - pki.host
