# Keys of the services on this host that use a Ceph cluster.
{%- from "ceph/map.jinja" import ceph with context %}
{%- set client = ceph.client %}
{%- for name, user in client.keyring | dictsort if user %}
{%- if client.enabled and user.get("group") %}

# the service is installed later, and its package finds the group
ceph-client-group-{{ name }}:
  group.present:
    - name: {{ user.group }}
    - system: True
    - require_in:
      - file: ceph-client-{{ name }}
{%- endif %}

ceph-client-{{ name }}:
  {%- if client.enabled %}
  file.managed:
    - name: /etc/ceph/ceph.{{ name }}.keyring
    - source: salt://ceph/files/keyring.jinja
    - template: jinja
    - context:
        entity: {{ name }}
        key: {{ user.key | json }}
    - user: root
    - group: {{ user.get("group", "root") }}
    - mode: "{{ "0640" if user.get("group") else "0600" }}"
    - show_changes: False
  {%- else %}
  file.absent:
    - name: /etc/ceph/ceph.{{ name }}.keyring
  {%- endif %}
{%- else %}

ceph-client-nothing:
  test.nop:
    - name: no service of this host has a key
{%- endfor %}
