{#- Deploy a cluster from the model, stage by stage; what a stage does, the model says.

    salt-run state.orch deploy
    salt-run state.orch deploy test=True
    salt-run state.orch deploy pillar='{"cluster": "demo-core"}'
    salt-run state.orch deploy pillar='{"revision": "v2.4"}'

  The revision (a git ref; saltern:revision of the master unless the pillar names one) is checked by
  preflight, becomes the cluster's deployed one there, and is what all later stages work from.

  Each step calls the runner function deploy.stage and stops the deployment if it fails. In test
  mode Salt goes on after a failure: what a later stage would do is worth knowing, too. #}
{%- set cluster = pillar.get("cluster") %}
{%- set revision = pillar.get("revision") %}
{%- for stage in ["preflight", "foundation", "infrastructure", "control", "resources", "sanity"] %}

deploy-{{ stage }}:
  rollout.stage:
    - name: {{ stage }}
    {%- if cluster %}
    - cluster: {{ cluster }}
    {%- endif %}
    {%- if revision and stage == "preflight" %}
    - revision: {{ revision | json }}
    {%- endif %}
    - failhard: True
{%- endfor %}
