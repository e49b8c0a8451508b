# nginx with the sites of this host. The whole configuration is one file, so that it is validated
# before it takes the place of the old one, and a site that left the model is gone with it.
{%- from "nginx/map.jinja" import nginx, pinned with context %}
{%- from "saltern/host.jinja" import host, topology with context %}
{%- import "saltern/packages.jinja" as apt %}
{%- set server = nginx.server %}
{%- set stores = [] %}
{%- for name, site in server.site | dictsort if site and site.kind == "store" and site.get("enabled", true) %}
{%- do stores.append(name) %}
{%- endfor %}
{%- if server.enabled %}
{{- apt.pin("nginx-server", "nginx", pinned, server.version) }}

nginx-server-package:
  pkg.installed:
    - name: {{ server.package }}

nginx-server-default:
  file.absent:
    - name: /etc/nginx/sites-enabled/default
    - require:
      - pkg: nginx-server-package

nginx-server-certificate:
  pki_host.stamp:
    - name: /etc/nginx/certificate.sha256
    - require:
      - pkg: nginx-server-package

{%- for name in stores %}

nginx-server-store-{{ name }}:
  file.directory:
    - name: {{ server.site[name].directory }}
    - user: {{ server.user }}
    - group: {{ server.user }}
    - mode: "0700"
    - makedirs: True
    - require:
      - pkg: nginx-server-package
    - require_in:
      - file: nginx-server-config
{%- endfor %}

nginx-server-config:
  file.managed:
    - name: /etc/nginx/nginx.conf
    - source: salt://nginx/files/nginx.conf.jinja
    - template: jinja
    - context:
        server: {{ server | json }}
        topology: {{ {"roles": topology.roles if stores else {}} | json }}
        bind_address: {{ (server.bind_address or host.address) | json }}
    - user: root
    - group: root
    - mode: "0644"
    - check_cmd: nginx -t -q -c
    - require:
      - pkg: nginx-server-package
      - pki_host: nginx-server-certificate

nginx-server-service:
  service.running:
    - name: {{ server.unit }}
    - enable: True
    - reload: True
    - watch:
      - file: nginx-server-config
      - pki_host: nginx-server-certificate
{%- else %}
nginx-server-service:
  service.dead:
    - name: {{ server.unit }}
    - enable: False
{%- endif %}
