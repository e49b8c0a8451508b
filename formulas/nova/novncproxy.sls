# The proxy of consoles: noVNC's page and a websocket for each console, over TLS.
{%- include "saltern/guard.jinja" %}
{%- from "nova/lib.jinja" import nova with context %}
{%- import "nova/lib.jinja" as lib with context %}
{%- set proxy = nova.novncproxy %}
{%- if proxy.enabled %}
nova-novncproxy-page:
  pkg.installed:
    - pkgs: {{ proxy.packages | json }}
{{ lib.config("novncproxy", {
      "DEFAULT": {
        "web": "/usr/share/novnc",
        "ssl_only": true,
        "cert": proxy.tls.certificate,
        "key": proxy.tls.key,
      },
      "vnc": {
        "novncproxy_host": proxy.address,
        "novncproxy_port": proxy.port,
        "novncproxy_base_url": proxy.url,
      },
      "console": {"allowed_origins": proxy.url | regex_replace("^https?://([^/:]+).*$", "\\1")},
    }) }}
{{ lib.daemon("novncproxy", "OpenStack Compute noVNC proxy (nova)",
              watch=[{"pkg": "nova-novncproxy-page"}], groups=["ssl-cert"]) }}
{%- else %}
{{ lib.stopped("novncproxy") }}
{%- endif %}
