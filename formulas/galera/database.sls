# Databases, accounts and grants that other roles asked for. Every member looks; what one wrote the
# others find there.
{%- from "galera/map.jinja" import galera with context %}
{%- set database = galera.database %}
{%- for name, spec in (database.database | dictsort if database.enabled else []) if spec is not none %}
{%- set charset = spec.get("charset", "utf8mb3") %}

galera-database-{{ name }}:
  galera_db.database_present:
    - name: {{ name }}
    - charset: {{ charset }}
    - collation: {{ spec.get("collation", charset ~ "_general_ci") }}
{%- for user, account in spec.get("users", {}) | dictsort if account %}

galera-database-{{ name }}-user-{{ user }}:
  galera_db.user_present:
    - name: {{ user }}
    - password: {{ account.password | json }}
    - host: {{ account.get("host", "%") | json }}
    - require_ssl: {{ account.get("require_ssl", true) }}
    - require:
      - galera_db: galera-database-{{ name }}

galera-database-{{ name }}-grants-{{ user }}:
  galera_db.grants_present:
    - name: {{ user }}
    - database: {{ name }}
    - host: {{ account.get("host", "%") | json }}
    - privileges: {{ account.get("privileges", ["ALL"]) | json }}
    - require:
      - galera_db: galera-database-{{ name }}-user-{{ user }}
{%- endfor %}
{%- endfor %}
