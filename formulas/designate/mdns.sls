# designate-mdns: the hidden primary. Name servers fetch their zones from it, and it tells them to.
{%- include "saltern/guard.jinja" %}
{%- from "designate/lib.jinja" import designate with context %}
{%- from "ovn/map.jinja" import bracketed with context %}
{%- from "saltern/host.jinja" import host with context %}
{%- import "designate/lib.jinja" as lib with context %}
{%- set mdns = designate.mdns %}
{%- if mdns.enabled %}
{{ lib.settings("mdns", {"service:mdns": {
      "workers": mdns.workers,
      "listen": bracketed(mdns.address or host.address) ~ ":" ~ mdns.port,
    } }) }}
{{ lib.daemon("mdns", "OpenStack DNS primary (designate)") }}
{%- else %}
{{ lib.stopped("mdns") }}
{%- endif %}
