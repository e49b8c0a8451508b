# The Salt master: installed package, served tree, model, keys, configuration. The package is in
# Salt's own Python before this role runs (pip install 'saltern[master]').
{%- from "salt/map.jinja" import settings with context %}
{%- from "salt/restart.jinja" import daemon with context %}
{%- set master = settings.master %}
{%- set package = grains["saltpath"].rsplit("/", 1)[0] ~ "/saltern" %}
{%- if not salt["file.directory_exists"](package ~ "/tree/formulas") %}
salt-master-package:
  test.fail_without_changes:
    - name: >-
        {{ package }} does not exist. Install the wheel of Saltern with its extra "master" into
        Salt's Python.
    - failhard: True
{%- endif %}

salt-master-packages:
  pkg.installed:
    - pkgs: {{ master.packages | json }}

salt-master-group:
  group.present:
    - name: salt
    - system: True

salt-master-user:
  user.present:
    - name: salt
    - gid: salt
    - home: /srv/saltern
    - createhome: False
    - shell: /usr/sbin/nologin
    - system: True
    - require:
      - group: salt-master-group

salt-master-directories:
  file.directory:
    - names:
      - /etc/salt/master.d
      - /srv/saltern
      - /srv/saltern/fileserver
    - user: root
    - group: salt
    - mode: "0755"
    - makedirs: True
    - require:
      - user: salt-master-user

# What the master writes or must keep to itself.
{%- for directory, mode in [
      ("/etc/salt/pki/master", "0700"),
      ("/etc/salt/gpgkeys", "0700"),
      ("/srv/saltern/model", "0750")] %}

salt-master-owns-{{ directory }}:
  file.directory:
    - name: {{ directory }}
    - user: salt
    - group: salt
    - dir_mode: "{{ mode }}"
    - makedirs: True
    - recurse: [user, group]
    - require:
      - user: salt-master-user
{%- endfor %}
{%- for directory, mode in [
      ("/var/log/salt", "0755"),
      ("/srv/saltern/keys", "0750"),
      ("/srv/saltern/store", "0750"),
      ("/srv/saltern/journal", "0750")] %}

salt-master-has-{{ directory }}:
  file.directory:
    - name: {{ directory }}
    - user: salt
    - group: salt
    - mode: "{{ mode }}"
    - makedirs: True
    - require:
      - user: salt-master-user
{%- endfor %}

# Salt itself sets its mode
salt-master-cache:
  file.directory:
    - name: /var/cache/salt/master
    - user: salt
    - group: salt
    - makedirs: True
    - require:
      - user: salt-master-user

salt-master-log:
  file.managed:
    - name: /var/log/salt/master
    - user: salt
    - group: salt
    - mode: "0640"
    - replace: False
    - require:
      - file: salt-master-has-/var/log/salt

# The model is a repository that takes pushes: a commit that does not compile is refused, and the
# work tree follows the branch that is checked out.
salt-master-model-repository:
  cmd.run:
    - name: git init -q -b main /srv/saltern/model
    - runas: salt
    - creates: /srv/saltern/model/.git
    - require:
      - pkg: salt-master-packages
      - file: salt-master-owns-/srv/saltern/model
{%- for key, value in [
      ("receive.denyCurrentBranch", "updateInstead"), ("core.hooksPath", "/srv/saltern/hooks")] %}

salt-master-model-{{ key }}:
  cmd.run:
    - name: git -C /srv/saltern/model config {{ key }} {{ value }}
    - unless: test "$(git -C /srv/saltern/model config {{ key }})" = {{ value }}
    - runas: salt
    - require:
      - cmd: salt-master-model-repository
{%- endfor %}
{%- for hook in ["pre-receive", "post-receive"] %}

salt-master-model-{{ hook }}:
  file.managed:
    - name: /srv/saltern/hooks/{{ hook }}
    - source: salt://salt/files/model-{{ hook }}
    - user: root
    - group: salt
    - mode: "0755"
    - makedirs: True
    - require:
      - user: salt-master-user
{%- endfor %}

# Stable paths into the installed package, whatever Python it is in.
salt-master-tree:
  file.symlink:
    - name: /srv/saltern/tree
    - target: {{ package }}/tree
    - force: True
    - require:
      - file: salt-master-directories
{%- for kind in ["modules", "states", "grains", "executors"] %}

salt-master-fileserver-{{ kind }}:
  file.symlink:
    - name: /srv/saltern/fileserver/_{{ kind }}
    - target: {{ package }}/{{ kind }}
    - force: True
    - require:
      - file: salt-master-directories
{%- endfor %}
{%- set fragments = [
      "05-saltern-master", "10-saltern-fileserver", "20-saltern-model", "40-saltern-rollouts"] %}
{%- for fragment in fragments %}

salt-master-config-{{ fragment }}:
  file.managed:
    - name: /etc/salt/master.d/{{ fragment }}.conf
    - source: salt://salt/files/master-{{ fragment }}.conf
    - user: root
    - group: salt
    - mode: "0640"
    - require:
      - file: salt-master-directories
{%- endfor %}
{%- set site = {"saltern": {"cluster": master.cluster} } if master.cluster else {} %}
{%- set site = salt["slsutil.merge"](site, master.config) %}

salt-master-site:
  {%- if site %}
  file.serialize:
    - dataset: {{ site | json }}
    - serializer: yaml
    - user: root
    - group: salt
    - mode: "0640"
  {%- else %}
  file.absent:
  {%- endif %}
    - name: /etc/salt/master.d/90-site.conf
    - require:
      - file: salt-master-directories

salt-master-unit:
  file.managed:
    - name: /etc/systemd/system/salt-master.service
    - source: salt://salt/files/salt-master.service
    - user: root
    - group: root
    - mode: "0644"

{%- set watched = [{"file": "salt-master-site"}, {"file": "salt-master-unit"}, {"file": "salt-master-tree"}] %}
{%- for fragment in fragments %}
{%- do watched.append({"file": "salt-master-config-" ~ fragment}) %}
{%- endfor %}
{{ daemon("salt-master", "salt-master", watched) }}
