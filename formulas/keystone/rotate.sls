# Rotates the Fernet keys of tokens. Apply it where the role keystone.keys is, then keystone.server
# on its members. Credential keys are not rotated: what they encrypt would have to be rewritten
# (keystone-manage credential_migrate) between the two steps.
{%- from "keystone/map.jinja" import keystone with context %}
{%- set keys = keystone["keys"] %}
keystone-rotate-fernet:
  fernet_keys.rotated:
    - name: {{ keys.directory }}/fernet
    - user: {{ keys.user }}
    - max_active_keys: {{ keys.max_active_keys }}
    - min_age: {{ keys.min_age }}
