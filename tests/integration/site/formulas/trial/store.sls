{%- include "saltern/guard.jinja" %}
trial-store-file:
  file.managed:
    - name: {{ pillar.trial.store.directory }}/{{ grains.id }}/store
    - contents: |
        {% for node in pillar.topology.roles['trial.store'] %}{{ node }}
        {% endfor %}
    - makedirs: True
