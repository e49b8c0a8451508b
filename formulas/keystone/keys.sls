# Keystone's key repositories, made once where the master reads them: every keystone.server gets
# them through its pillar, so all members share one set.
{%- from "keystone/map.jinja" import keystone with context %}
{%- set keys = keystone["keys"] %}
{%- if keys.enabled %}
{%- for repository in ("fernet", "credential") %}
keystone-keys-{{ repository }}:
  fernet_keys.present:
    - name: {{ keys.directory }}/{{ repository }}
    - user: {{ keys.user }}
{% endfor %}
{%- else %}
keystone-keys-disabled:
  test.nop
{%- endif %}
