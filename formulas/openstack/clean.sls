# Only the credentials: the objects in the APIs are the users' data.
{%- include "saltern/guard.jinja" %}
openstack-client-clouds-absent:
  file.absent:
    - name: /etc/openstack/clouds.yaml
