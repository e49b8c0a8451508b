# Names, package sources, trust, kernel settings and limits of one host.
{%- from "linux/map.jinja" import linux with context %}
{%- from "saltern/host.jinja" import host with context %}
{%- set system = linux.system %}
{%- set container = salt["file.file_exists"]("/run/systemd/container") %}

# No package may start a daemon that is not configured yet; formulas start their own units.
linux-system-policy:
  file.managed:
    - name: /usr/sbin/policy-rc.d
    - contents: |
        #!/bin/sh
        # Managed by Salt: packages never start, restart or stop daemons on this host.
        exit 101
    - user: root
    - group: root
    - mode: "0755"

{%- if grains["host"] != host.name %}

linux-system-hostname:
  test.fail_without_changes:
    - name: >-
        The host calls itself {{ grains["host"] }}, the model calls it {{ host.name }}.
        Set its host name (hostnamectl set-hostname {{ host.name }}) or correct the model.
    - failhard: True
{%- endif %}

linux-system-hostname-file:
  file.managed:
    - name: /etc/hostname
    - contents: {{ host.name }}
    - user: root
    - group: root
    - mode: "0644"

linux-system-hosts:
  file.managed:
    - name: /etc/hosts
    - source: salt://linux/files/hosts.jinja
    - template: jinja
    - context:
        hosts: {{ system.hosts | json }}
    - user: root
    - group: root
    - mode: "0644"
{%- for path in system.get("sources_lists", []) if system.repo_exclusive %}

linux-system-repo-distribution-{{ loop.index }}:
  file.absent:
    - name: {{ path }}
    - onchanges_in:
      - module: linux-system-repo-refresh
{%- endfor %}
{%- for name, repo in system.repo.items() if repo %}
{%- set enabled = repo.get("enabled", true) %}
{%- if repo.get("key") %}

linux-system-repo-{{ name }}-key:
  {%- if enabled %}
  file.managed:
    - contents: {{ repo.key | json }}
    - user: root
    - group: root
    - mode: "0644"
    - makedirs: True
  {%- else %}
  file.absent:
  {%- endif %}
    - name: /etc/apt/keyrings/saltern-{{ name }}.asc
    - onchanges_in:
      - module: linux-system-repo-refresh
{%- endif %}

linux-system-repo-{{ name }}:
  {%- if enabled %}
  file.managed:
    - contents:
      - "# Managed by Salt: local changes are overwritten."
      - {{ repo.source | json }}
    - user: root
    - group: root
    - mode: "0644"
  {%- else %}
  file.absent:
  {%- endif %}
    - name: /etc/apt/sources.list.d/saltern-{{ name }}.list
    - onchanges_in:
      - module: linux-system-repo-refresh
{%- if repo.get("pin") %}

linux-system-repo-{{ name }}-pin:
  {%- if enabled %}
  file.managed:
    - contents:
      - "# Managed by Salt: local changes are overwritten."
      - "Package: *"
      - {{ ("Pin: " ~ repo.pin.match) | json }}
      - {{ ("Pin-Priority: " ~ repo.pin.priority) | json }}
    - user: root
    - group: root
    - mode: "0644"
  {%- else %}
  file.absent:
  {%- endif %}
    - name: /etc/apt/preferences.d/saltern-{{ name }}
{%- endif %}
{%- endfor %}
{%- if system.repo.values() | select | list or system.repo_exclusive %}

linux-system-repo-refresh:
  module.run:
    - pkg.refresh_db:
      - failhard: True
    - onchanges: []
    - require_in:
      - pkg: linux-system-packages
{%- endif %}

linux-system-packages:
  pkg.installed:
    - pkgs: {{ system.packages | json }}
    - require:
      - file: linux-system-policy
      - file: linux-system-hosts
{%- for label in system.ca_certificates | sort %}

linux-system-ca-{{ label }}:
  {%- if system.ca_certificates[label] %}
  file.managed:
    - contents: {{ system.ca_certificates[label] | json }}
    - user: root
    - group: root
    - mode: "0644"
  {%- else %}
  file.absent:
  {%- endif %}
    - name: /usr/local/share/ca-certificates/saltern-{{ label }}.crt
    - require:
      - pkg: linux-system-packages
    - onchanges_in:
      - cmd: linux-system-ca-update
{%- endfor %}
{%- if system.ca_certificates %}

linux-system-ca-update:
  cmd.run:
    - name: update-ca-certificates --fresh
    - onchanges: []
{%- endif %}
{%- if system.sysctl %}

linux-system-sysctl-file:
  file.managed:
    - name: /etc/sysctl.d/90-saltern.conf
    - source: salt://saltern/files/keyvalue.jinja
    - template: jinja
    - context:
        data: {{ system.sysctl | json }}
        separator: " = "
    - user: root
    - group: root
    - mode: "0644"

linux-system-sysctl:
  linux_sysctl.applied:
    - values: {{ system.sysctl | json }}
    - require:
      - file: linux-system-sysctl-file
{%- endif %}

linux-system-limits:
  {%- if system.limits %}
  file.managed:
    - source: salt://linux/files/limits.conf.jinja
    - template: jinja
    - context:
        limits: {{ system.limits | json }}
    - user: root
    - group: root
    - mode: "0644"
  {%- else %}
  file.absent:
  {%- endif %}
    - name: /etc/security/limits.d/90-saltern.conf
{%- if system.time.servers %}

linux-system-time-package:
  pkg.installed:
    - name: {{ system.time.package }}
    - require:
      - pkg: linux-system-packages

linux-system-time-config:
  file.managed:
    - name: {{ system.time.config }}
    - source: salt://linux/files/chrony.conf.jinja
    - template: jinja
    - context:
        servers: {{ system.time.servers | json }}
    - user: root
    - group: root
    - mode: "0644"
    - require:
      - pkg: linux-system-time-package
{%- if not container %}

linux-system-time-service:
  service.running:
    - name: {{ system.time.unit }}
    - enable: True
    - watch:
      - file: linux-system-time-config
{%- endif %}
{%- endif %}
