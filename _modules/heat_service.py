"""
Engines of Heat, as Heat sees them
==================================

An engine that runs need not be one that works: each of its processes tells so by a beat that it
writes to the database. Here that is asked for, in Heat's own Python as its user. No password is an
argument, a return or a log line.
"""

from salt.exceptions import CommandExecutionError

__virtualname__ = "heat_service"

CONFIG = "/etc/heat/heat.conf"

# Reads {"config", "host"} from its standard input; runs in Heat's Python.
_SCRIPT = """
import json, logging, sys
logging.disable(logging.CRITICAL)
want = json.load(sys.stdin)
from oslo_config import cfg
from oslo_db.exception import DBError
from heat.common import config, context, service_utils
from heat.db import api
conf = cfg.CONF
conf([], project='heat', default_config_files=[want['config']], default_config_dirs=[])
# whoever asks has retries of his own
conf.set_override('max_retries', 0, 'database')
host = want['host'] or conf.host
try:
    known = [service_utils.format_service(one)
             for one in api.service_get_all(context.RequestContext(is_admin=True))]
except DBError as err:
    sys.exit(f'the database does not answer: {type(err).__name__}')
here = [one for one in known if one['host'] == host]
print(json.dumps({'host': host, 'known': len(here),
                  'up': sum(one['status'] == 'up' for one in here)}))
"""


def __virtual__():
    return __virtualname__


def state(host=None, venv="/opt/openstack/current/heat", config=CONFIG, user="heat"):
    """
    Return how many processes of the engine Heat knows and hears of.

    host
        The host they run on, as Heat names it; default: this one.
    venv
        Heat's virtual environment; ``/usr`` for distribution packages.
    config
        Heat's configuration file.
    user
        Heat's user.

    Returns ``{"host": …, "known": number, "up": number}``; those of a process that ended are known
    until Heat clears them away. Raises ``CommandExecutionError`` when the database does not answer.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test heat_service.state
    """
    want = {"config": config, "host": host}
    return __salt__["openstack_db.ask"](_SCRIPT, user, venv, want)


def up(host=None, venv="/opt/openstack/current/heat", config=CONFIG, user="heat"):
    """
    Tell whether Heat hears of an engine of a host; a health check.

    host, venv, config, user
        As for :py:func:`heat_service.state <state>`.

    Returns ``{"ok": bool, "sentence": str}`` and never raises.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test heat_service.up
    """
    try:
        found = state(host, venv, config, user)
    except CommandExecutionError as err:
        return {"ok": False, "sentence": f"{err}."}
    where = f"heat-engine on {found['host']}"
    if found["up"]:
        return {"ok": True, "sentence": f"{where} is up: {found['up']} processes."}
    if found["known"]:
        return {"ok": False, "sentence": f"Heat has not heard of {where} for too long."}
    return {"ok": False, "sentence": f"Heat knows no {where}."}
