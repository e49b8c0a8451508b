# salt-api: runner functions over HTTPS, for Jenkins and the portal.
{%- from "salt/map.jinja" import settings with context %}
{%- from "salt/restart.jinja" import daemon with context %}
{%- set local = opts.get("file_client") == "local" %}
include:
  - salt.master

salt-api-tls-group:
  group.present:
    - name: ssl-cert
    - system: True

salt-api-config:
  file.managed:
    - name: /etc/salt/master.d/30-saltern-api.conf
    - source: salt://salt/files/master-30-saltern-api.conf
    - user: root
    - group: salt
    - mode: "0640"
    - require:
      - file: salt-master-directories
    - {{ "watch_in" if local else "onchanges_in" }}:
      - {{ "service: salt-master-service" if local else "cmd: salt-master-restart" }}

{%- set allowed = {} %}
{%- set users = [] %}
{%- for name, user in settings.api.users | dictsort if user %}
{%- do allowed.update({name: [{"@runner": user.allow}]}) %}
{%- do users.append(name ~ ":" ~ salt["hashutil.digest"](user.password, "sha512")) %}
{%- endfor %}
{%- set permissions = {"external_auth": {"file": allowed} } %}

# Hashes of long random passwords: the clear text is on no disk of this host.
salt-api-users:
  file.managed:
    - name: /etc/salt/api.users
    - contents: {{ users | json }}
    - user: root
    - group: salt
    - mode: "0640"
    - show_changes: False
    - require:
      - user: salt-master-user

salt-api-permissions:
  file.serialize:
    - name: /etc/salt/master.d/91-api-site.conf
    - dataset: {{ permissions | json }}
    - serializer: yaml
    - user: root
    - group: salt
    - mode: "0640"
    - require:
      - file: salt-master-directories
    - {{ "watch_in" if local else "onchanges_in" }}:
      - {{ "service: salt-master-service" if local else "cmd: salt-master-restart" }}

salt-api-log:
  file.managed:
    - name: /var/log/salt/api
    - user: salt
    - group: salt
    - mode: "0640"
    - replace: False
    - require:
      - file: salt-master-has-/var/log/salt

# daemons read the certificate at their start
salt-api-certificate:
  pki_host.stamp:
    - name: /etc/salt/api-certificate.sha256

salt-api-unit:
  file.managed:
    - name: /etc/systemd/system/salt-api.service
    - source: salt://salt/files/salt-api.service
    - user: root
    - group: root
    - mode: "0644"
{{ daemon("salt-api", "salt-api", [
     {"pki_host": "salt-api-certificate"}, {"file": "salt-api-config"}, {"file": "salt-api-permissions"}, {"file": "salt-api-unit"}]) }}
