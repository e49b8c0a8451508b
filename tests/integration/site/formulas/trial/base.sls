{%- include "saltern/guard.jinja" %}
trial-base-file:
  file.managed:
    - name: {{ pillar.trial.base.directory }}/{{ grains.id }}/base
    - contents: {{ pillar.trial.base.greeting }}
    - makedirs: True
    - mode: '0644'
