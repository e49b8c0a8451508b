# the administrator's client configuration, for root alone
{%- from "openstack/map.jinja" import openstack with context %}
{%- if openstack.client.enabled %}

openstack-client-directory:
  file.directory:
    - name: /etc/openstack
    - user: root
    - group: root
    - mode: "0755"

# The template reads the pillar itself: nothing secret is in this SLS.
openstack-client-clouds:
  file.managed:
    - name: /etc/openstack/clouds.yaml
    - source: salt://openstack/files/clouds.yaml.jinja
    - template: jinja
    - user: root
    - group: root
    - mode: "0600"
    - show_changes: False
    - require:
      - file: openstack-client-directory
{%- endif %}
