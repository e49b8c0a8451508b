{#- Upgrade a cluster to the releases that a revision of the model names, wave by wave.

    salt-run rollout.plan upgrade revision=v3.0                 # look at it first
    salt-run state.orch upgrade pillar='{"plan": "1f0c9a3b77de", "approved_by": "oncall"}'
    salt-run state.orch upgrade test=True

  Pillar and what happens after a failure: as in change.sls. #}
{%- from "rollout.jinja" import begun, phases %}
{{- begun("upgrade", pillar) }}
{{- phases("upgrade", pillar) }}
