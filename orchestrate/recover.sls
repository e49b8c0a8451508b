{#- Bring a cluster back after all of its hosts were down.

    salt-run state.orch recover
    salt-run state.orch recover test=True

  First the database, as everything waits for it: it begins again with the member that has the
  most recent data. Then every stage must be healthy again, in the order of the deployment;
  whatever runs is left alone. Which nodes and stages there are, the cluster's deployed revision
  says. #}
{%- set cluster = pillar.get("cluster") %}

recover-galera:
  rollout.recovered:
    - name: galera.recover
    {%- if cluster %}
    - cluster: {{ cluster }}
    {%- endif %}
    - failhard: True
{%- for stage in ["foundation", "infrastructure", "control", "resources"] %}

recover-{{ stage }}:
  rollout.validated:
    - name: {{ stage }}
    {%- if cluster %}
    - cluster: {{ cluster }}
    {%- endif %}
    - failhard: True
{%- endfor %}
