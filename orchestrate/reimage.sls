{#- Start hosts from the image that the model wants, one after another; what they keep is kept.

    salt-run rollout.plan reimage revision=v3.0                 # look at it first
    salt-run state.orch reimage pillar='{"plan": "1f0c9a3b77de", "approved_by": "oncall"}'
    salt-run state.orch reimage pillar='{"options": {"revision": "v3.0", "nodes": "osd01"} }'

  Pillar and what happens after a failure: as in change.sls. #}
{%- from "rollout.jinja" import begun, phases %}
{{- begun("reimage", pillar) }}
{{- phases("reimage", pillar) }}
