"""
Agents of Neutron, as Neutron sees them
=======================================

An agent that runs need not be one that works: Neutron knows when it last heard of it. Its API is
asked, in Neutron's own Python, with the credentials that a service of this host has anyway: those
of ``neutron.conf`` on the control plane, those that Nova reaches Neutron with on a compute. No
password is an argument, a return or a log line.
"""

import os

from salt.exceptions import CommandExecutionError

__virtualname__ = "neutron_agent"

#: Where credentials are: a file, its section, and who may read it. The first one that is there.
_KNOWN = (
    ("/etc/neutron/neutron.conf", "nova", "neutron"),
    ("/etc/nova/nova.conf", "neutron", "nova"),
)

# Reads {"config", "section"} from its standard input; runs in Neutron's Python.
_SCRIPT = """
import json, logging, sys
logging.disable(logging.CRITICAL)
from keystoneauth1 import exceptions, loading
from oslo_config import cfg
want = json.load(sys.stdin)
section = want['section']
conf = cfg.ConfigOpts()
loading.register_auth_conf_options(conf, section)
loading.register_session_conf_options(conf, section)
conf.register_opts([cfg.StrOpt('region_name')], group=section)
conf([], default_config_files=[want['config']], default_config_dirs=[])
try:
    auth = loading.load_auth_from_conf_options(conf, section)
    session = loading.load_session_from_conf_options(conf, section, auth=auth)
    answer = session.get('/v2.0/agents', endpoint_filter={
        'service_type': 'network', 'interface': 'internal',
        'region_name': conf[section].region_name})
except exceptions.ClientException as err:
    sys.exit(f'the Networking API does not answer: {err}')
print(json.dumps([
    {'kind': one['agent_type'], 'host': one['host'], 'up': one['alive'],
     'enabled': one['admin_state_up']} for one in answer.json()['agents']]))
"""


def __virtual__():
    return __virtualname__


def known(venv="/opt/openstack/current/neutron", config=None, section=None, user=None):
    """
    Return what Neutron knows of its agents: a list of ``{"kind", "host", "up", "enabled"}``.

    venv
        Neutron's virtual environment; ``/usr`` for distribution packages.
    config, section, user
        File with credentials, its section, and the user that may read it; default: what a service
        of this host has.

    Raises ``CommandExecutionError`` when there are no credentials, or the API does not answer.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test neutron_agent.known
    """
    if not config:
        found = [entry for entry in _KNOWN if os.path.exists(entry[0])]
        if not found:
            raise CommandExecutionError(
                f"No service of this host has credentials for Neutron: neither {_KNOWN[0][0]} nor"
                f" {_KNOWN[1][0]} is there"
            )
        config, section, user = found[0]
    want = {"config": config, "section": section}
    return __salt__["openstack_db.ask"](_SCRIPT, user, venv, want)


def up(kind, host=None, venv="/opt/openstack/current/neutron"):
    """
    Tell whether Neutron hears of an agent; a health check.

    kind
        As Neutron names it: ``OVN Metadata agent``, ``OVN Controller agent``.
    host
        The host it runs on; default: this one, by its full or its short name.
    venv
        As for :py:func:`neutron_agent.known <known>`.

    Returns ``{"ok": bool, "sentence": str}`` and never raises. One that is disabled is well:
    somebody wanted that. The sentence says so.

    CLI Example:

    .. code-block:: bash

        salt cmp01.example.test neutron_agent.up 'OVN Metadata agent'
    """
    host = host or (__pillar__.get("host") or {}).get("fqdn") or __grains__["id"]
    try:
        agents = known(venv)
    except CommandExecutionError as err:
        return {"ok": False, "sentence": f"{err}."}
    where = f"{kind} on {host}"
    names = {host, host.partition(".")[0]}
    mine = [one for one in agents if one["kind"] == kind and one["host"] in names]
    if not mine:
        return {"ok": False, "sentence": f"Neutron knows no {where}."}
    if not all(one["up"] for one in mine):
        return {"ok": False, "sentence": f"Neutron has not heard of {where} for too long."}
    off = "" if all(one["enabled"] for one in mine) else ", and disabled"
    return {"ok": True, "sentence": f"{where} is up{off}."}
