{#- Rehearse the upgrade to a revision on copies of the databases, as the runner function rehearse.run does.

    salt-run state.orch rehearse pillar='{"revision": "v2026.1"}'
    salt-run state.orch rehearse pillar='{"revision": "v2026.1", "take": true}'
    salt-run state.orch rehearse pillar='{"revision": "v2026.1"}' test=True

  Pillar: `revision`, `cluster`, `bundle`; `take: true` takes new dumps first. Production is only read from. #}

rehearse:
  rehearse.green:
    - name: {{ pillar.get("revision", "HEAD") | json }}
    {%- for key in ["cluster", "bundle", "take"] if pillar.get(key) %}
    - {{ key }}: {{ pillar[key] | json }}
    {%- endfor %}
    - failhard: True
