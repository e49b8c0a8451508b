"""
Engines of Heat, as Heat sees them
==================================

An engine that runs need not be one that works: each of its processes tells so by a beat that it
writes to the database. Here that is asked for, in Heat's own Python as its user. No password is an
argument, a return or a log line.

Source: Heat, ``heat/common/service_utils.py`` (``format_service``).
"""

from salt.exceptions import CommandExecutionError

__virtualname__ = "heat_service"

CONFIG = "/etc/heat/heat.conf"

#: What each process of an engine leaves of itself in the database; its beat comes every
#: ``report_interval`` seconds, and Heat bears that one is missed.
COLUMNS = {
    "host": "text",
    "binary": "text",
    "deleted_at": "age",
    "created_at": "age",
    "updated_at": "age",
    "report_interval": "number",
}


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
    where = {"deleted_at": None}
    told = __salt__["openstack_rows.read"]([config], "service", COLUMNS, where, user, venv)
    host = host or told["options"]["host"]
    known = [one for one in told["rows"] if one["host"] == host]
    up = 0
    for one in known:
        beat = one["created_at"] if one["updated_at"] is None else one["updated_at"]
        up += beat <= 2 * one["report_interval"]
    return {"host": host, "known": len(known), "up": up}


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
