# Objects inside the cloud's APIs. A domain comes before its projects, a project before its users
# and their roles, a service before its endpoints, the catalogue before the images.
{%- from "openstack/map.jinja" import openstack with context %}
{%- set resources = openstack.resources %}
{%- if resources.enabled %}
{%- set simple = {
      "domain": ["description", "is_enabled"],
      "role": ["description"],
      "project": ["domain", "description", "is_enabled"],
      "user": ["domain", "email", "description", "default_project", "is_enabled"],
      "service": ["type", "description", "is_enabled"],
    } %}
{%- set where = {"project": ["domain"], "user": ["domain"]} %}

include:
  - openstack.clouds

openstack-resources-reachable:
  openstack_api.reachable:
    - attempts: {{ resources.verify.attempts }}
    - interval: {{ resources.verify.interval }}
    - cloud: {{ resources.cloud | json }}
    - require:
      - file: openstack-resources-clouds

{%- for kind in ["domain", "role", "project", "user", "service"] %}
{%- for label, given in resources[kind] | dictsort %}
{%- set keep = given.get("ensure", "present") == "present" %}

openstack-resources-{{ kind }}-{{ label }}:
  {{ "openstack_identity." ~ kind ~ "_present" if keep else "openstack_identity.absent" }}:
    - name: {{ given.get("name", label) | json }}
    {%- for field in (simple[kind] if keep else where.get(kind, [])) if field in given %}
    - {{ field }}: {{ given[field] | json }}
    {%- endfor %}
    {%- if not keep %}
    - kind: {{ kind }}
    {%- elif "password" in given %}
    - password_pillar: {{ ("openstack:resources:user:" ~ label ~ ":password") | json }}
    {%- endif %}
    - cloud: {{ resources.cloud | json }}
    - require:
      - openstack_api: openstack-resources-reachable
{%- endfor %}
{%- endfor %}

{%- for label, given in resources.role_assignment | dictsort %}

openstack-resources-role_assignment-{{ label }}:
  openstack_identity.role_assigned:
    - name: {{ label | json }}
    {%- for field in ["role", "user", "group", "project", "domain", "system", "user_domain", "project_domain"] if field in given %}
    - {{ field }}: {{ given[field] | json }}
    {%- endfor %}
    - assigned: {{ (given.get("ensure", "present") == "present") | json }}
    - cloud: {{ resources.cloud | json }}
    - require:
      - openstack_api: openstack-resources-reachable
{%- endfor %}

{%- for label, given in resources.endpoint | dictsort %}
{%- set keep = given.get("ensure", "present") == "present" %}
{%- for interface, url in given.url | dictsort %}

openstack-resources-endpoint-{{ label }}-{{ interface }}:
  {{ "openstack_identity.endpoint_present" if keep else "openstack_identity.absent" }}:
    - name: {{ (label ~ " " ~ interface) | json }}
    - service: {{ given.service | json }}
    - interface: {{ interface }}
    - region: {{ given.get("region", resources.region) | json }}
    {%- if keep %}
    - url: {{ url | json }}
    {%- else %}
    - kind: endpoint
    {%- endif %}
    - cloud: {{ resources.cloud | json }}
    - require:
      - openstack_api: openstack-resources-reachable
{%- endfor %}
{%- endfor %}

{%- for label, given in resources.image | dictsort %}
{%- set keep = given.get("ensure", "present") == "present" %}

openstack-resources-image-{{ label }}:
  openstack_image.{{ "present" if keep else "absent" }}:
    - name: {{ given.get("name", label) | json }}
    {%- if keep %}
    {%- for field, value in given | dictsort if field not in ["ensure", "name"] %}
    - {{ field }}: {{ value | json }}
    {%- endfor %}
    {%- endif %}
    - cloud: {{ resources.cloud | json }}
    - require:
      - openstack_api: openstack-resources-reachable
{%- endfor %}
{%- endif %}
