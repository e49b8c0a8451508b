# Stops this member; the others are a majority. A leader hands its office over before it goes.
{%- include "saltern/guard.jinja" %}
ovn-upgrade-stop:
  service.dead:
    - names: [ovn-northd, ovn-ovsdb-server-sb, ovn-ovsdb-server-nb]
