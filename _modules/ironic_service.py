"""
Conductors of Ironic, as Ironic sees them
=========================================

A conductor that runs need not be one that works: it tells so, and which drivers it has, by a beat
that it writes to the database. Here that is asked for, in Ironic's own Python as its user. No
password is an argument, a return or a log line.
"""

from salt.exceptions import CommandExecutionError

__virtualname__ = "ironic_service"

CONFIG = "/etc/ironic/ironic.conf"

# Reads {"config", "host"} from its standard input; runs in Ironic's Python.
_SCRIPT = """
import json, logging, sys
logging.disable(logging.CRITICAL)
want = json.load(sys.stdin)
from oslo_db.exception import DBError
from ironic.common import exception, service
from ironic.conf import CONF as conf
from ironic.db import api
service.prepare_command(['ironic-status', '--config-file', want['config']])
# whoever asks has retries of his own
conf.set_override('max_retries', 0, 'database')
host = want['host'] or conf.host
found = {'host': host, 'known': True, 'up': False, 'drivers': []}
try:
    database = api.get_instance()
    one = database.get_conductor(host, online=None)
    found['up'] = host in database.get_online_conductors()
    found['drivers'] = sorted({
        row['hardware_type'] for row in database.list_conductor_hardware_interfaces(one.id)})
except exception.ConductorNotFound:
    found['known'] = False
except DBError as err:
    sys.exit(f'the database does not answer: {type(err).__name__}')
print(json.dumps(found))
"""


def __virtual__():
    return __virtualname__


def state(host=None, venv="/opt/openstack/current/ironic", config=CONFIG, user="ironic"):
    """
    Return what Ironic knows of a conductor.

    host
        The host it runs on, as Ironic names it; default: this one.
    venv
        Ironic's virtual environment; ``/usr`` for distribution packages.
    config
        Ironic's configuration file.
    user
        Ironic's user.

    Returns ``{"host": …, "known": bool, "up": bool, "drivers": [...]}``. Raises
    ``CommandExecutionError`` when the database does not answer.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test ironic_service.state
    """
    want = {"config": config, "host": host}
    return __salt__["openstack_db.ask"](_SCRIPT, user, venv, want)


def up(drivers=(), host=None, venv="/opt/openstack/current/ironic", config=CONFIG, user="ironic"):
    """
    Tell whether Ironic hears of a conductor, and of its drivers; a health check.

    drivers
        Those that it must have.
    host, venv, config, user
        As for :py:func:`ironic_service.state <state>`.

    Returns ``{"ok": bool, "sentence": str}`` and never raises.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test ironic_service.up drivers='[redfish]'
    """
    try:
        found = state(host, venv, config, user)
    except CommandExecutionError as err:
        return {"ok": False, "sentence": f"{err}."}
    where = f"ironic-conductor on {found['host']}"
    if not found["known"]:
        return {"ok": False, "sentence": f"Ironic knows no {where}."}
    if not found["up"]:
        return {"ok": False, "sentence": f"Ironic has not heard of {where} for too long."}
    lacking = sorted(set(drivers) - set(found["drivers"]))
    if lacking:
        return {"ok": False, "sentence": f"{where} is up without {', '.join(lacking)}."}
    return {"ok": True, "sentence": f"{where} is up with {', '.join(found['drivers'])}."}
