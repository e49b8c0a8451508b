# Objects inside the cloud's other APIs. A network comes before its subnets, a subnet before the routers
# that are in it; what goes, goes in the opposite order, after routers have left it.
{%- from "openstack/map.jinja" import openstack with context %}
{%- set client = openstack.client %}
{%- set resources = openstack.resources %}
{%- if resources.enabled %}

include:
  - openstack.client

openstack-resources-reachable:
  openstack_api.reachable:
    - attempts: {{ client.verify.attempts }}
    - interval: {{ client.verify.interval }}
    - cloud: {{ client.cloud | json }}
    - require:
      - file: openstack-client-clouds

{%- set owner = ["project", "project_domain"] %}
{#- kind, state, what finds an object beside its name #}
{%- set kinds = [
      ["volume_type", "openstack_volume.type_present", []],
      ["flavor", "openstack_compute.flavor_present", []],
      ["keypair", "openstack_compute.keypair_present", ["user", "domain"]],
      ["network", "openstack_network.network_present", owner],
      ["security_group", "openstack_network.security_group_present", owner],
      ["subnet", "openstack_network.subnet_present", ["network"] + owner],
      ["router", "openstack_network.router_present", owner],
    ] %}

{%- for kind, state, _ in kinds %}
{%- for label, given in resources[kind] | dictsort if given.get("ensure", "present") == "present" %}

openstack-resources-{{ kind }}-{{ label }}:
  {{ state }}:
    - name: {{ given.get("name", label) | json }}
    {%- for field, value in given | dictsort if field not in ["ensure", "name"] %}
    - {{ field }}: {{ value | json }}
    {%- endfor %}
    - cloud: {{ client.cloud | json }}
    - require:
      - openstack_api: openstack-resources-reachable
{%- endfor %}
{%- endfor %}

{%- for kind, _, where in kinds | reverse %}
{%- for label, given in resources[kind] | dictsort if given.get("ensure", "present") == "absent" %}

openstack-resources-{{ kind }}-{{ label }}:
  openstack_resource.absent:
    - name: {{ given.get("name", label) | json }}
    - kind: {{ kind }}
    {%- set found = {} %}
    {%- for field in where if field in given %}
    {%- do found.update({field: given[field]}) %}
    {%- endfor %}
    - where: {{ found | json }}
    - cloud: {{ client.cloud | json }}
    - require:
      - openstack_api: openstack-resources-reachable
{%- endfor %}
{%- endfor %}

{%- for label, given in resources.quota | dictsort %}
{%- for api in ["compute", "network", "volume"] if api in given %}

openstack-resources-quota-{{ label }}-{{ api }}:
  openstack_{{ api }}.quota:
    - name: {{ given.get("project", label) | json }}
    {%- if given.get("ensure", "present") == "present" %}
    - limits: {{ given[api] | json }}
    {%- endif %}
    {%- if "domain" in given %}
    - domain: {{ given.domain | json }}
    {%- endif %}
    - cloud: {{ client.cloud | json }}
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
    - cloud: {{ client.cloud | json }}
    - require:
      - openstack_api: openstack-resources-reachable
{%- endfor %}
{%- endif %}
