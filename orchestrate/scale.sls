{#- Add nodes to a cluster, take nodes out of it, or replace one.

    salt-run rollout.plan scale-out nodes=cmp081.iaas.test revision=HEAD
    salt-run state.orch scale pillar='{"plan": "1f0c9a3b77de", "workflow": "scale-out"}'
    salt-run state.orch scale pillar='{"workflow": "scale-in", "options": {"nodes": "cmp081"} }'

  Pillar: workflow (scale-out, scale-in or replace; scale-out without it), the rest and what happens
  after a failure: as in change.sls. #}
{%- from "rollout.jinja" import begun, phases %}
{%- set workflow = pillar.get("workflow", "scale-out") %}
{{- begun(workflow, pillar) }}
{{- phases(workflow, pillar) }}
