{#- Take a rollout back: what it did, in reverse order, and the pins as they were.

    salt-run rollout.rollback r20261122-1 test=True             # look at it first
    salt-run state.orch rollback pillar='{"rollout": "r20261122-1"}'

  Pillar: rollout (its id), accept_loss (also past the point of no return), approved_by, reason. #}
{%- set rollout = pillar.get("rollout") or "the rollout that pillar must name" %}

rollback:
  rollout.undone:
    - name: {{ rollout | json }}
    {%- for key in ["accept_loss", "approved_by", "reason"] if pillar.get(key) %}
    - {{ key }}: {{ pillar[key] | json }}
    {%- endfor %}
    - failhard: True
