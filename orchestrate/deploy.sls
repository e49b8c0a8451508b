{#- Deploy a cluster from the model, stage by stage; what a stage does, the model says.

    salt-run state.orch deploy
    salt-run state.orch deploy test=True
    salt-run state.orch deploy pillar='{"cluster": "demo-core"}'

  Each step calls the runner function deploy.stage and stops the deployment if it fails. In test
  mode Salt goes on after a failure: what a later stage would do is worth knowing, too. #}
{%- set cluster = pillar.get("cluster") %}
{%- for stage in ["preflight", "foundation", "infrastructure", "control", "resources", "sanity"] %}

deploy-{{ stage }}:
  rollout.stage:
    - name: {{ stage }}
    {%- if cluster %}
    - cluster: {{ cluster }}
    {%- endif %}
    - failhard: True
{%- endfor %}
