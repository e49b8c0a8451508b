# Accounts and the catalogue in Keystone. A domain comes before its projects, a project before its
# users and their roles, a service before its endpoints.
{%- from "openstack/map.jinja" import openstack with context %}
{%- set client = openstack.client %}
{%- set identity = openstack.identity %}
{%- if identity.enabled %}
{%- set simple = {
      "domain": ["description", "is_enabled"],
      "role": ["description"],
      "project": ["domain", "description", "is_enabled"],
      "user": ["domain", "email", "description", "default_project", "is_enabled"],
      "service": ["type", "description", "is_enabled"],
    } %}
{%- set where = {"project": ["domain"], "user": ["domain"]} %}

include:
  - openstack.client

openstack-identity-reachable:
  openstack_api.reachable:
    - attempts: {{ client.verify.attempts }}
    - interval: {{ client.verify.interval }}
    - cloud: {{ client.cloud | json }}
    - require:
      - file: openstack-client-clouds

{%- for kind in ["domain", "role", "project", "user", "service"] %}
{%- for label, given in identity[kind] | dictsort %}
{%- set keep = given.get("ensure", "present") == "present" %}

openstack-identity-{{ kind }}-{{ label }}:
  {{ "openstack_identity." ~ kind ~ "_present" if keep else "openstack_identity.absent" }}:
    - name: {{ given.get("name", label) | json }}
    {%- for field in (simple[kind] if keep else where.get(kind, [])) if field in given %}
    - {{ field }}: {{ given[field] | json }}
    {%- endfor %}
    {%- if not keep %}
    - kind: {{ kind }}
    {%- elif "password" in given %}
    - password_pillar: {{ ("openstack:identity:user:" ~ label ~ ":password") | json }}
    {%- endif %}
    - cloud: {{ client.cloud | json }}
    - require:
      - openstack_api: openstack-identity-reachable
{%- endfor %}
{%- endfor %}

{%- for label, given in identity.role_assignment | dictsort %}

openstack-identity-role_assignment-{{ label }}:
  openstack_identity.role_assigned:
    - name: {{ label | json }}
    {%- for field in ["role", "user", "group", "project", "domain", "system", "user_domain", "project_domain"] if field in given %}
    - {{ field }}: {{ given[field] | json }}
    {%- endfor %}
    - assigned: {{ (given.get("ensure", "present") == "present") | json }}
    - cloud: {{ client.cloud | json }}
    - require:
      - openstack_api: openstack-identity-reachable
{%- endfor %}

{%- for label, given in identity.endpoint | dictsort %}
{%- set keep = given.get("ensure", "present") == "present" %}
{%- for interface, url in given.url | dictsort %}

openstack-identity-endpoint-{{ label }}-{{ interface }}:
  {{ "openstack_identity.endpoint_present" if keep else "openstack_identity.absent" }}:
    - name: {{ (label ~ " " ~ interface) | json }}
    - service: {{ given.service | json }}
    - interface: {{ interface }}
    - region: {{ given.get("region", identity.region) | json }}
    {%- if keep %}
    - url: {{ url | json }}
    {%- else %}
    - kind: endpoint
    {%- endif %}
    - cloud: {{ client.cloud | json }}
    - require:
      - openstack_api: openstack-identity-reachable
{%- endfor %}
{%- endfor %}
{%- endif %}
