"""
Processes of Nova, as Nova sees them
====================================

A process of Nova that runs need not be one that works: it tells so by a beat that it writes to its
cell's database, itself or through the conductor. Here that is asked for, in Nova's own Python as
its user: on the control plane from that database, on a compute (which knows none) from the Compute
API with the credentials of ``nova.conf``. No password is an argument, a return or a log line.

Source: Nova, ``nova/servicegroup/drivers/db.py`` (``is_up``).
"""

import os

from salt.exceptions import CommandExecutionError

__virtualname__ = "nova_service"

#: What every process reads, and what those of the control plane read too.
COMMON, CONTROL = "/etc/nova/nova.conf", "/etc/nova/nova-control.conf"

#: Seconds without a beat that Nova bears where its configuration says nothing.
DOWN = 60

#: What a process leaves of itself in its cell's database.
COLUMNS = {
    "host": "text",
    "binary": "text",
    "deleted": "number",
    "created_at": "age",
    "last_seen_up": "age",
    "forced_down": "flag",
    "disabled": "flag",
    "disabled_reason": "text",
}

# Reads {"config", "binary", "host"} from its standard input; runs in Nova's Python.
_SCRIPT = """
import json, logging, sys
logging.disable(logging.CRITICAL)
want = json.load(sys.stdin)
from keystoneauth1 import exceptions
from keystoneauth1 import loading
from oslo_config import cfg
conf = cfg.ConfigOpts()
loading.register_auth_conf_options(conf, 'service_user')
loading.register_session_conf_options(conf, 'service_user')
conf.register_opts([cfg.StrOpt('host')])
conf.register_opts([cfg.StrOpt('region_name')], group='service_user')
conf([], default_config_files=want['config'], default_config_dirs=[])
host = want['host'] or conf.host
try:
    auth = loading.load_auth_from_conf_options(conf, 'service_user')
    session = loading.load_session_from_conf_options(conf, 'service_user', auth=auth)
    answer = session.get('/os-services', params={'host': host, 'binary': want['binary']},
                         endpoint_filter={'service_type': 'compute', 'interface': 'internal',
                                          'region_name': conf.service_user.region_name})
except exceptions.ClientException as err:
    sys.exit(f'the Compute API does not answer: {err}')
found = {'host': host}
for one in answer.json()['services']:
    found.update(up=one['state'] == 'up', enabled=one['status'] == 'enabled',
                 reason=one.get('disabled_reason'))
print(json.dumps(found))
"""


def __virtual__():
    return __virtualname__


def state(binary, host=None, venv="/opt/openstack/current/nova", config=None, user="nova"):
    """
    Return what Nova knows of one of its processes.

    binary
        Its name: ``nova-compute``, ``nova-conductor``, ``nova-scheduler``.
    host
        The host it runs on, as Nova names it; default: this one.
    venv
        Nova's virtual environment; ``/usr`` for distribution packages.
    config
        Configuration files; default: those of the host. With two of them the second names the
        cell's database, which is asked then instead of the API.
    user
        Nova's user.

    Returns ``{"host": …, "up": bool, "enabled": bool, "reason": text or None}``; the host alone
    where Nova knows no such process. Raises ``CommandExecutionError`` when what is asked does not
    answer.

    CLI Example:

    .. code-block:: bash

        salt cmp01.example.test nova_service.state nova-compute
    """
    if not config:
        config = [COMMON, CONTROL] if os.path.exists(CONTROL) else [COMMON]
    if len(config) == 1:
        want = {"config": list(config), "binary": binary, "host": host}
        return __salt__["openstack_db.ask"](_SCRIPT, user, venv, want)
    where = {"binary": binary, "deleted": 0}
    told = __salt__["openstack_rows.read"](
        config, "services", COLUMNS, where, user, venv, options=[["service_down_time", ""]]
    )
    host = host or told["options"]["host"]
    found = {"host": host}
    for one in told["rows"]:
        if one["host"] == host:
            beat = one["created_at"] if one["last_seen_up"] is None else one["last_seen_up"]
            bearable = abs(beat) <= int(told["options"]["service_down_time"] or DOWN)
            found["up"] = bearable and not one["forced_down"]
            found["enabled"] = not one["disabled"]
            found["reason"] = one["disabled_reason"]
    return found


def up(binary, host=None, venv="/opt/openstack/current/nova", config=None, user="nova"):
    """
    Tell whether Nova hears of one of its processes; a health check.

    binary, host, venv, config, user
        As for :py:func:`nova_service.state <state>`.

    Returns ``{"ok": bool, "sentence": str}`` and never raises. One that is disabled is well:
    somebody wanted that. The sentence says so.

    CLI Example:

    .. code-block:: bash

        salt cmp01.example.test nova_service.up nova-compute
    """
    try:
        found = state(binary, host, venv, config, user)
    except CommandExecutionError as err:
        return {"ok": False, "sentence": f"{err}."}
    where = f"{binary} on {found['host']}"
    if "up" not in found:
        return {"ok": False, "sentence": f"Nova knows no {where}."}
    if not found["up"]:
        return {"ok": False, "sentence": f"Nova has not heard of {where} for too long."}
    if not found["enabled"]:
        why = f": {found['reason']}" if found["reason"] else ""
        return {"ok": True, "sentence": f"{where} is up, and disabled{why}."}
    return {"ok": True, "sentence": f"{where} is up."}
