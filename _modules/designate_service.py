"""
Processes of Designate, as Designate sees them
==============================================

A process of Designate that runs need not be one that works: it tells so by a beat that it sends to
designate-central, which writes it to the database. Here that is asked for, in Designate's own
Python as its user. No password is an argument, a return or a log line.
"""

from salt.exceptions import CommandExecutionError

__virtualname__ = "designate_service"

CONFIG = "/etc/designate/designate.conf"

#: Beats that may be missed: one comes every ten seconds.
SECONDS = 60

#: What a process leaves of itself in the database.
COLUMNS = {
    "service_name": "text",
    "hostname": "text",
    "status": "text",
    "heartbeated_at": "age",
}


def __virtual__():
    return __virtualname__


def state(
    name, host=None, venv="/opt/openstack/current/designate", config=CONFIG, user="designate"
):
    """
    Return what Designate knows of one of its processes.

    name
        What it is: ``central``, ``producer``, ``mdns``, ``worker``.
    host
        The host it runs on, as Designate names it; default: this one.
    venv
        Designate's virtual environment; ``/usr`` for distribution packages.
    config
        Designate's configuration file.
    user
        Designate's user.

    Returns ``{"host": …, "status": "UP", "seconds": since its last beat}``; the host alone where
    Designate knows no such process. Raises ``CommandExecutionError`` when the database does not
    answer.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test designate_service.state worker
    """
    where, section = {"service_name": name}, "storage:sqlalchemy"
    told = __salt__["openstack_rows.read"](
        [config], "service_statuses", COLUMNS, where, user, venv, section
    )
    found = {"host": host or told["options"]["host"]}
    for one in told["rows"]:
        if one["hostname"] == found["host"]:
            found.update(status=one["status"], seconds=one["heartbeated_at"])
    return found


def up(name, host=None, venv="/opt/openstack/current/designate", config=CONFIG, user="designate"):
    """
    Tell whether Designate hears of one of its processes; a health check.

    name, host, venv, config, user
        As for :py:func:`designate_service.state <state>`.

    Returns ``{"ok": bool, "sentence": str}`` and never raises. One that stands by, because another
    host has the only one, is well: its unit is there and not enabled.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test designate_service.up worker
    """
    unit = f"designate-{name}"
    if host is None and not __salt__["service.enabled"](unit):
        return {"ok": True, "sentence": f"{unit} stands by: it is not enabled here."}
    try:
        found = state(name, host, venv, config, user)
    except CommandExecutionError as err:
        return {"ok": False, "sentence": f"{err}."}
    where = f"{unit} on {found['host']}"
    if "status" not in found:
        return {"ok": False, "sentence": f"Designate knows no {where}."}
    if found["seconds"] is None or found["seconds"] > SECONDS:
        return {"ok": False, "sentence": f"Designate has not heard of {where} for too long."}
    if found["status"] != "UP":
        return {"ok": False, "sentence": f"{where} says that it is {found['status']}."}
    return {"ok": True, "sentence": f"{where} is up."}
