# The agent that answers a hypervisor's instances on 169.254.169.254: a namespace and an haproxy for each
# network that has one here. It becomes root through rootwrap, for what that needs and nothing else.
{%- include "saltern/guard.jinja" %}
{%- import "neutron/map.jinja" as map with context %}
{%- import "neutron/lib.jinja" as lib with context %}
{%- import "oslo/api.jinja" as api with context %}
{%- set agent = map.neutron.ovn_metadata %}
{%- set bin = api.prefix("neutron", agent) ~ "/bin" %}
{%- set file = "/etc/neutron/ovn-metadata-agent.ini" %}
{%- set southbound = lib.databases(agent, "southbound") %}
{%- set config = salt["slsutil.merge"]({
  "DEFAULT": {
    "use_stderr": true,
    "state_path": "/var/lib/neutron",
    "nova_metadata_protocol": agent.metadata.protocol,
    "nova_metadata_host": agent.metadata.host,
    "nova_metadata_port": agent.metadata.port,
    "auth_ca_cert": agent.metadata.ca,
    "metadata_proxy_shared_secret": agent.metadata.shared_secret,
    "metadata_workers": agent.workers,
  },
  "AGENT": {"root_helper": "sudo -n " ~ bin ~ "/neutron-rootwrap /etc/neutron/rootwrap.conf"},
  "ovs": {"ovsdb_connection": "unix:" ~ agent.switch_socket},
  "ovn": {
    "ovn_sb_connection": southbound,
    "ovn_sb_ca_cert": agent.tls.ca,
    "ovn_sb_certificate": agent.tls.certificate,
    "ovn_sb_private_key": agent.tls.key,
  },
  "oslo_concurrency": {"lock_path": "/var/lib/neutron/lock"},
}, agent.config) %}
{%- if agent.enabled and not southbound %}

neutron-ovn_metadata-central:
  test.fail_without_changes:
    - name: >-
        neutron:ovn_metadata:southbound is empty, and no node has the role ovn.central, so the agent would
        have no database to follow. Give one the role, or name the addresses in the model.
    - failhard: True
{%- elif agent.enabled and agent.source.engine == "container" %}

neutron-ovn_metadata-engine:
  test.fail_without_changes:
    - name: >-
        neutron:ovn_metadata:source:engine is container: the agent makes namespaces and starts programs of
        the host, so it runs on it. Set venv or pkg.
    - failhard: True
{%- elif agent.enabled %}
{{ api.code("neutron", agent, role="ovn_metadata") }}
neutron-ovn_metadata-packages:
  pkg.installed:
    - pkgs: {{ agent.packages | json }}
{%- if "haproxy" not in pillar %}

# the agent starts its own ones
neutron-ovn_metadata-haproxy:
  service.dead:
    - name: haproxy
    - enable: False
    - require:
      - pkg: neutron-ovn_metadata-packages
{%- endif %}

neutron-ovn_metadata-lock:
  file.directory:
    - name: /var/lib/neutron/lock
    - user: neutron
    - group: neutron
    - mode: "0750"
    - require:
      - file: neutron-ovn_metadata-directories

neutron-ovn_metadata-config:
  file.managed:
    - name: {{ file }}
    - source: salt://saltern/files/ini.jinja
    - template: jinja
    - context:
        data: {{ config | json }}
    - user: root
    - group: neutron
    - mode: "0640"
    - show_changes: False
    - require:
      - file: neutron-ovn_metadata-directories

neutron-ovn_metadata-rootwrap:
  file.managed:
    - name: /etc/neutron/rootwrap.conf
    - source: salt://saltern/files/ini.jinja
    - template: jinja
    - context:
        data:
          DEFAULT:
            filters_path: /etc/neutron/rootwrap.d
            exec_dirs: {{ bin }},/usr/sbin,/usr/bin,/sbin,/bin
            use_syslog: false
    - user: root
    - group: root
    - mode: "0644"
    - require:
      - file: neutron-ovn_metadata-directories

neutron-ovn_metadata-filters:
  file.managed:
    - name: /etc/neutron/rootwrap.d/ovn-metadata.filters
    - source: salt://neutron/files/ovn-metadata.filters.jinja
    - template: jinja
    - context:
        bin: {{ bin }}
        config: {{ file }}
    - user: root
    - group: root
    - mode: "0644"
    - makedirs: True
    - dir_mode: "0755"

neutron-ovn_metadata-sudo:
  file.managed:
    - name: /etc/sudoers.d/neutron
    - contents:
      - "# Managed by Salt: local changes are overwritten."
      # in quotes: its colon would make a mapping of it
      - "neutron ALL = (root) NOPASSWD: {{ bin }}/neutron-rootwrap /etc/neutron/rootwrap.conf *"
    - user: root
    - group: root
    - mode: "0440"
    - check_cmd: /usr/sbin/visudo -cf
    - require:
      - pkg: neutron-ovn_metadata-packages
{%- set native = api.native("neutron", agent) %}
{{ api.daemon("neutron", agent, "ovn_metadata", "neutron-ovn-metadata-agent", ["--config-file", file],
              watch=[{"file": "neutron-ovn_metadata-config"}, {"file": "neutron-ovn_metadata-rootwrap"},
                     {"file": "neutron-ovn_metadata-filters"}, {"file": "neutron-ovn_metadata-sudo"},
                     {"artifact" if agent.source.engine == "venv" else "pkg": "neutron-ovn_metadata-code"}]
                    + ([{"artifact": "neutron-ovn_metadata-bindings"}] if native else []),
              environ={"PYTHONPATH": native} if native else {},
              after=["openvswitch-access.service"], groups=[agent.tls.group, agent.switch_group],
              privileged=true,
              keep_children=true, description="OpenStack Networking, metadata for instances (neutron)") }}
{%- else %}
{{ api.stopped("neutron", "ovn_metadata", "neutron-ovn-metadata-agent") }}
{%- endif %}
