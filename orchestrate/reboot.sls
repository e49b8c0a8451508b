{#- Restart hosts one after another, each drained before and healthy after.

    salt-run rollout.plan reboot nodes=ctl01.demo-core.test     # look at it first
    salt-run state.orch reboot pillar='{"plan": "1f0c9a3b77de"}'
    salt-run state.orch reboot pillar='{"options": {"racks": "r12", "canary": 1}}'

  Pillar and what happens after a failure: as in change.sls. #}
{%- from "rollout.jinja" import begun, phases %}
{{- begun("reboot", pillar) }}
{{- phases("reboot", pillar) }}
