# Gives the databases the schema of the installed version, once for the whole cluster: the daemons of
# the version before do without what is new in it.
{%- include "saltern/guard.jinja" %}
ovn-upgrade-convert:
  ovn_cluster.converted:
    - name: databases
