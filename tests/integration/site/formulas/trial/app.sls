{%- include "saltern/guard.jinja" %}
trial-app-switch:
  test.fail_without_changes:
    - comment: the disk of this host is full
    - onlyif:
        - fun: file.file_exists
          path: {{ pillar.trial.app.directory }}/fail-{{ grains.id }}

# lasts for as long as a test wants, and leaves a line for each time it ran
trial-app-hold:
  cmd.run:
    - name: |
        mkdir -p {{ pillar.trial.app.directory }}/{{ grains.id }}
        echo ran >> {{ pillar.trial.app.directory }}/{{ grains.id }}/held
        for second in $(seq 600); do
          [ -e {{ pillar.trial.app.directory }}/hold ] || exit 0
          sleep 0.1
        done
    - onlyif:
        - fun: file.file_exists
          path: {{ pillar.trial.app.directory }}/hold

trial-app-config:
  file.managed:
    - name: {{ pillar.trial.app.directory }}/{{ grains.id }}/app
    - contents: password={{ pillar.trial.app.password }}
    - show_changes: False
    - makedirs: True
    - mode: '0640'
    - require:
        - test: trial-app-switch
