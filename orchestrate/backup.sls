{#- Back up what the model calls stateful, verify the newest bundles, remove what is too old.

    salt-run state.orch backup
    salt-run state.orch backup pillar='{"kinds": "incremental", "verify": false}'
    salt-run state.orch backup test=True

  Pillar: `cluster`, `roles`, `kinds`, `databases`; `verify: false` leaves that step out. #}
{%- set cluster = pillar.get("cluster") %}

backup-take:
  backup.taken:
    - name: backup
    {%- for key in ["cluster", "roles", "kinds", "databases", "interrupt"] if pillar.get(key) %}
    - {{ key }}: {{ pillar[key] | json }}
    {%- endfor %}
    - failhard: True
{%- if pillar.get("verify", true) %}

backup-verify:
  backup.verified:
    - name: backup
    {%- for key in ["cluster", "roles"] if pillar.get(key) %}
    - {{ key }}: {{ pillar[key] | json }}
    {%- endfor %}
    - failhard: True
{%- endif %}

backup-expire:
  backup.expired:
    - name: backup
    {%- if cluster %}
    - cluster: {{ cluster | json }}
    {%- endif %}
    - failhard: True
