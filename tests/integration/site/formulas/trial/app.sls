{%- include "saltern/guard.jinja" %}
trial-app-switch:
  test.fail_without_changes:
    - comment: the disk of this host is full
    - onlyif:
        - fun: file.file_exists
          path: {{ pillar.trial.app.directory }}/fail-{{ grains.id }}

trial-app-config:
  file.managed:
    - name: {{ pillar.trial.app.directory }}/{{ grains.id }}/app
    - contents: password={{ pillar.trial.app.password }}
    - show_changes: False
    - makedirs: True
    - mode: '0640'
    - require:
        - test: trial-app-switch
