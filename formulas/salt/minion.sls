# The agent of every host: which master it obeys, and that it runs. Its id is in /etc/salt/minion_id
# and its keys are laid down before its first start; neither is this role's to change.
{%- from "salt/map.jinja" import settings with context %}
{%- from "salt/restart.jinja" import daemon with context %}
{%- set minion = settings.minion %}
{%- set masters = minion.masters or pillar.get("topology", {}).get("roles", {}).get("salt.master", []) %}
salt-minion-directory:
  file.directory:
    - name: /etc/salt/minion.d
    - user: root
    - group: root
    - mode: "0755"
    - makedirs: True

salt-minion-config:
  file.managed:
    - name: /etc/salt/minion.d/10-saltern.conf
    - source: salt://salt/files/minion-10-saltern.conf
    - user: root
    - group: root
    - mode: "0644"
    - require:
      - file: salt-minion-directory
{%- if masters %}

salt-minion-masters:
  file.managed:
    - name: /etc/salt/minion.d/20-master.conf
    - contents: 'master: {{ masters[0] if masters | length == 1 else masters | json }}'
    - user: root
    - group: root
    - mode: "0644"
    - require:
      - file: salt-minion-directory
{%- endif %}

salt-minion-site:
  {%- if minion.config %}
  file.serialize:
    - dataset: {{ minion.config | json }}
    - serializer: yaml
    - user: root
    - group: root
    - mode: "0640"
  {%- else %}
  file.absent:
  {%- endif %}
    - name: /etc/salt/minion.d/90-site.conf
{%- if minion.unit %}

salt-minion-unit:
  file.managed:
    - name: /etc/systemd/system/salt-minion.service
    - source: salt://salt/files/salt-minion.service
    - user: root
    - group: root
    - mode: "0644"
{%- if masters %}
{{ daemon("salt-minion", "salt-minion", [
     {"file": "salt-minion-config"}, {"file": "salt-minion-masters"},
     {"file": "salt-minion-site"}, {"file": "salt-minion-unit"}]) }}
{%- endif %}
{%- endif %}
