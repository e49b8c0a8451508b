{#- Restore from a bundle, as the runner function backup.restore does.

    salt-run state.orch restore pillar='{"databases": "nova,nova_api", "replace": true}' test=True
    salt-run state.orch restore pillar='{"databases": "nova,nova_api", "replace": true}'
    salt-run state.orch restore pillar='{"kind": "full", "point": "2026-01-01T12:00:00Z", "replace": true}'

  Pillar: `cluster` and the arguments of backup.restore. Without `replace` nothing is touched. #}

restore:
  backup.restored:
    - name: {{ pillar.get("role", "galera.server") }}
    {%- for key in ["cluster", "bundle", "point", "databases", "suffix", "kind", "host", "replace"] if pillar.get(key) %}
    - {{ key }}: {{ pillar[key] | json }}
    {%- endfor %}
    - failhard: True
