# HAProxy, its configuration made from what the roles of the cluster publish.
{%- from "haproxy/map.jinja" import haproxy, pinned with context %}
{%- from "saltern/host.jinja" import host, topology with context %}
{%- import "saltern/packages.jinja" as apt %}
{%- set proxy = haproxy.proxy %}
{%- if proxy.enabled %}
{{- apt.pin("haproxy-proxy", "haproxy", pinned, proxy.version) }}

haproxy-proxy-package:
  pkg.installed:
    - name: {{ proxy.package }}

haproxy-proxy-status-group:
  group.present:
    - name: {{ proxy.status_group }}
    - system: True

haproxy-proxy-certificate:
  pki_host.stamp:
    - name: /etc/haproxy/certificate.sha256
    - require:
      - pkg: haproxy-proxy-package

# who is fenced is not for the model to say: haproxy_fence writes it
haproxy-proxy-fence:
  file.managed:
    - name: /etc/haproxy/fence.map
    - contents: ''
    - replace: False
    - user: root
    - group: root
    - mode: "0644"
    - require:
      - pkg: haproxy-proxy-package

haproxy-proxy-config:
  file.managed:
    - name: /etc/haproxy/haproxy.cfg
    - source: salt://haproxy/files/haproxy.cfg.jinja
    - template: jinja
    - context:
        proxy: {{ proxy | json }}
        bind_address: {{ (proxy.bind_address or host.address) | json }}
        topology: {{ topology | json }}
    - user: root
    - group: root
    - mode: "0640"
    - check_cmd: haproxy -c -q -f
    - require:
      - pkg: haproxy-proxy-package
      - group: haproxy-proxy-status-group
      - file: haproxy-proxy-fence
      - pki_host: haproxy-proxy-certificate

haproxy-proxy-service:
  service.running:
    - name: {{ proxy.unit }}
    - enable: True
    - reload: True
    - watch:
      - file: haproxy-proxy-config
      - pki_host: haproxy-proxy-certificate
{%- else %}
haproxy-proxy-service:
  service.dead:
    - name: {{ proxy.unit }}
    - enable: False
{%- endif %}
