{#- Roll a change of the model out, wave by wave: only the nodes and roles that it touches.

    salt-run rollout.plan change revision=v2.5                  # look at it first
    salt-run state.orch change pillar='{"plan": "1f0c9a3b77de", "approved_by": "oncall"}'
    salt-run state.orch change pillar='{"options": {"revision": "v2.5"} }'       # plan and apply
    salt-run state.orch change test=True

  Pillar: plan (hash of a plan; without one it is made here), options (as in rollout.plan: revision,
  nodes, canary, percent, soak …), cluster, approved_by, reason.

  Each step carries the rollout to the end of one phase. When one fails or the rollout is paused, the
  orchestration stops; after rollout.retry or rollout.resume the rest can be run with the same plan. #}
{%- from "rollout.jinja" import begun, phases %}
{{- begun("change", pillar) }}
{{- phases("change", pillar) }}
