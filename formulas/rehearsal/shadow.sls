# A host on which upgrades are rehearsed. Nothing of it runs by itself: salt-run rehearse.run starts and ends it.
{%- from "rehearsal/map.jinja" import rehearsal with context %}
{%- from "saltern/host.jinja" import topology with context %}
{%- set shadow = rehearsal.shadow %}
{%- set directory = "/etc/saltern/rehearsal" %}
{%- set backup = {
      "host": grains["id"], "cluster": shadow.cluster or topology.get("cluster"),
      "server": shadow.server, "port": shadow.port, "tls": shadow.tls,
      "key_file": directory ~ "/key", "directory": shadow.directory ~ "/work",
      "compression": 3, "mariadb": {} } %}
{%- set settings = {
      "directory": shadow.directory, "user": shadow.user, "backup": directory ~ "/backup.json"} %}
{%- if shadow.enabled %}
rehearsal-shadow-packages:
  pkg.installed:
    - pkgs: {{ shadow.packages | json }}

rehearsal-shadow-user:
  user.present:
    - name: {{ shadow.user }}
    - usergroup: True
    - home: {{ shadow.directory }}
    - createhome: False
    - shell: /usr/sbin/nologin
    - system: True

rehearsal-shadow-directory:
  file.directory:
    - name: {{ shadow.directory }}
    - user: root
    - group: root
    - mode: "0711"
    - makedirs: True

rehearsal-shadow-settings:
  file.managed:
    - name: {{ directory }}/settings.json
    - contents: {{ settings | json | json }}
    - user: root
    - group: root
    - mode: "0600"
    - makedirs: True
    - dir_mode: "0700"
    - require:
      - user: rehearsal-shadow-user

# it reads bundles of the databases and writes none: what a host sends it sends as backup.client
rehearsal-shadow-backup:
  file.managed:
    - name: {{ directory }}/backup.json
    - contents: {{ backup | json | json }}
    - user: root
    - group: root
    - mode: "0600"
    - require:
      - file: rehearsal-shadow-settings

rehearsal-shadow-key:
  file.managed:
    - name: {{ directory }}/key
    - contents: {{ shadow.key | json }}
    - user: root
    - group: root
    - mode: "0600"
    - show_changes: False
    - require:
      - file: rehearsal-shadow-settings

rehearsal-shadow-unit:
  file.managed:
    - name: /etc/systemd/system/saltern-rehearsal.service
    - source: salt://rehearsal/files/server.service.jinja
    - template: jinja
    - context:
        user: {{ shadow.user }}
        directory: {{ shadow.directory }}
        memory: {{ shadow.memory }}
        hours: {{ shadow.hours }}
    - user: root
    - group: root
    - mode: "0644"
    - require:
      - pkg: rehearsal-shadow-packages
      - user: rehearsal-shadow-user

rehearsal-shadow-reload:
  module.run:
    - service.systemctl_reload: []
    - onchanges:
      - file: rehearsal-shadow-unit
{%- else %}
rehearsal-shadow-disabled:
  file.absent:
    - names:
      - {{ directory }}
      - /etc/systemd/system/saltern-rehearsal.service
{%- endif %}
