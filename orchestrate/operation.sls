{#- Do a named work of a role, wave by wave; `salt-run rollout.operations` lists what there is.

    salt-run rollout.plan operation operation=ceph.osd.rebuild nodes=osd01 args='{store: 3}'
    salt-run state.orch operation pillar='{"plan": "1f0c9a3b77de"}'
    salt-run state.orch operation \
      pillar='{"options": {"operation": "ceph.osd.rebuild", "nodes": "osd01", "args": {"store": 3} } }'

  Pillar and what happens after a failure: as in change.sls. #}
{%- from "rollout.jinja" import begun, phases %}
{{- begun("operation", pillar) }}
{{- phases("operation", pillar) }}
