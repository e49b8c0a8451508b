# Timers on the master that run the functions of `salt-run backup`: who is backed up when.
{%- from "backup/map.jinja" import backup with context %}
{%- set scheduler = backup.scheduler %}
{%- set known = scheduler.jobs if scheduler.enabled else {} %}
{%- set wanted = [] %}
{%- for name, job in scheduler.jobs | dictsort if job and scheduler.enabled %}
{%- do wanted.append(name) %}
{%- for kind in ["service", "timer"] %}

backup-scheduler-{{ name }}-{{ kind }}:
  file.managed:
    - name: /etc/systemd/system/saltern-backup-{{ name }}.{{ kind }}
    - source: salt://backup/files/job.{{ kind }}.jinja
    - template: jinja
    - context:
        name: {{ name }}
        job: {{ job | json }}
        program: {{ scheduler.program }}
        user: {{ scheduler.user }}
    - user: root
    - group: root
    - mode: "0644"
{%- endfor %}
{%- endfor %}
{%- set gone = [] %}
{%- for name, job in scheduler.jobs | dictsort if not job or not scheduler.enabled %}
{%- do gone.append(name) %}

backup-scheduler-{{ name }}-stopped:
  service.dead:
    - name: saltern-backup-{{ name }}.timer
    - enable: False
    # one that never was has nothing to stop
    - onlyif:
      - fun: file.file_exists
        path: /etc/systemd/system/saltern-backup-{{ name }}.timer

backup-scheduler-{{ name }}-gone:
  file.absent:
    - names:
      - /etc/systemd/system/saltern-backup-{{ name }}.timer
      - /etc/systemd/system/saltern-backup-{{ name }}.service
    - require:
      - service: backup-scheduler-{{ name }}-stopped
{%- endfor %}

backup-scheduler-reload:
  module.run:
    - service.systemctl_reload: []
    - onchanges:
      {%- for name in wanted %}
      - file: backup-scheduler-{{ name }}-service
      - file: backup-scheduler-{{ name }}-timer
      {%- endfor %}
      {%- for name in gone %}
      - file: backup-scheduler-{{ name }}-gone
      {%- endfor %}
{%- for name in wanted %}

backup-scheduler-{{ name }}-running:
  service.running:
    - name: saltern-backup-{{ name }}.timer
    - enable: True
    - require:
      - module: backup-scheduler-reload
    - watch:
      - file: backup-scheduler-{{ name }}-timer
{%- endfor %}
