{#- Deploy a cluster from the model, stage by stage; what a stage does, the model says.

    salt-run state.orch deploy
    salt-run state.orch deploy test=True
    salt-run state.orch deploy pillar='{"cluster": "demo-core"}'
    salt-run state.orch deploy pillar='{"revision": "v2.4"}'

  The revision (a git ref; saltern:revision of the master unless the pillar names one) is checked by
  preflight. Then its rollout is begun, and each further step carries that to the end of one stage;
  a failure ends the deployment. Run again it goes on where it stopped, also after a crash: the
  master leaves it alone meanwhile (options:resume).

  Pillar: cluster, revision, approved_by, reason, options (as in rollout.plan: soak …).

  In test mode Salt goes on after a failure: what a later stage would do is worth knowing, too. #}
{%- from "rollout.jinja" import begun %}
{%- set cluster = pillar.get("cluster") %}
{%- set revision = {"revision": pillar["revision"]} if pillar.get("revision") else {} %}
{%- set options = dict({"resume": False}, **dict(pillar.get("options") or {}, **revision)) %}
{%- for stage in ["preflight", "begin", "foundation", "infrastructure", "control", "resources",
                  "sanity", "commit"] %}
{%- if stage == "begin" %}
{{- begun("deploy", dict(pillar, plan="", options=options)) }}
{%- else %}

deploy-{{ stage }}:
  rollout.stage:
    - name: {{ stage }}
    {%- if cluster %}
    - cluster: {{ cluster }}
    {%- endif %}
    {%- if revision %}
    - revision: {{ pillar["revision"] | json }}
    {%- endif %}
    - failhard: True
{%- endif %}
{%- endfor %}
