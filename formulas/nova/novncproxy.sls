# The proxy of consoles: noVNC's page and a websocket for each console, over TLS.
{%- include "saltern/guard.jinja" %}
{%- from "nova/lib.jinja" import nova with context %}
{%- import "nova/lib.jinja" as lib with context %}
{%- set proxy = nova.novncproxy %}
{%- set packaged = lib.common.source.engine == "pkg" %}
{%- set page = "/opt/saltern/files/novnc" %}
{%- if proxy.enabled %}
nova-novncproxy-page:
  {%- if packaged %}
  pkg.installed:
    - name: {{ proxy.package }}
  {%- else %}
  # static files; what the package depends on is for programs of its own
  package_files.present:
    - name: {{ page }}
    - package: {{ proxy.package }}
  {%- endif %}
{{ lib.config("novncproxy", {
      "DEFAULT": {
        "web": ("" if packaged else page) ~ "/usr/share/novnc",
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
              watch=[{"pkg" if packaged else "package_files": "nova-novncproxy-page"}], groups=["ssl-cert"]) }}
{%- else %}
{{ lib.stopped("novncproxy") }}
{%- endif %}
