# Starts this member again, and waits until it is back in both clusters.
{%- include "saltern/guard.jinja" %}
ovn-upgrade-start:
  ovn_cluster.running:
    - name: ovn-central
