"""
Processes of Cinder, as Cinder sees them
========================================

A process of Cinder that runs need not be one that works: it tells so by a beat that it writes to
the database, and one whose driver did not come up writes none. Here that is asked for, in Cinder's
own Python as its user. No password is an argument, a return or a log line.

Source: Cinder, ``cinder/objects/service.py`` (``is_up``), ``cinder/cmd/volume.py``.
"""

from salt.exceptions import CommandExecutionError

__virtualname__ = "cinder_service"

#: What every process reads; what is its own comes after it.
COMMON = "/etc/cinder/cinder.conf"

#: There where the kernel has device-mapper, and logical volumes can be used.
DEVICE_MAPPER = "/dev/mapper/control"

#: Seconds without a beat that Cinder bears where its configuration says nothing.
DOWN = 60

#: What says which rows are this host's.
OPTIONS = [["service_down_time", ""], ["enabled_backends", ""], ["backend_host", "*"]]

#: What a process leaves of itself in the database.
COLUMNS = {
    "host": "text",
    "binary": "text",
    "deleted": "flag",
    "created_at": "age",
    "updated_at": "age",
    "disabled": "flag",
    "disabled_reason": "text",
}


def __virtual__():
    return __virtualname__


def state(binary, host=None, venv="/opt/openstack/current/cinder", config=None, user="cinder"):
    """
    Return what Cinder knows of one of its processes.

    binary
        Its name: ``cinder-scheduler``, ``cinder-volume``, ``cinder-backup``.
    host
        The host it runs on, as Cinder names it; default: this one, or the owner of a back end.
    venv
        Cinder's virtual environment; ``/usr`` for distribution packages.
    config
        Configuration files of the process, in the order in which they are read; default: those of
        the host.
    user
        Cinder's user.

    Returns a list of ``{"host": …, "up": bool, "enabled": bool, "reason": text or None}``: one
    entry, of cinder-volume one for each back end that is served here. An entry has the host alone
    where Cinder knows no such process. Raises ``CommandExecutionError`` when what is asked does not
    answer.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test cinder_service.state cinder-volume
    """
    files = list(config or [COMMON, f"/etc/cinder/{binary}.conf"])
    for file in files:
        if not __salt__["file.file_exists"](file):
            raise CommandExecutionError(f"there is no {file} here: {binary} is not installed")
    where = {"binary": binary, "deleted": False}
    told = __salt__["openstack_rows.read"](
        files, "services", COLUMNS, where, user, venv, options=OPTIONS
    )
    options, known = told["options"], {one["host"]: one for one in told["rows"]}
    names = [host or options["host"]]
    if binary == "cinder-volume":
        backends = [name for name in (options["enabled_backends"] or "").split(",") if name]
        names = [
            f"{host or options[f'{name}.backend_host'] or options['host']}@{name}"
            for name in backends
        ]
    bearable = int(options["service_down_time"] or DOWN)
    return [{"host": name, **_told(known.get(name), bearable)} for name in names]


def _told(one, bearable):
    """What is known of a process from its row, nothing without one."""
    if one is None:
        return {}
    beat = one["created_at"] if one["updated_at"] is None else one["updated_at"]
    return {
        "up": abs(beat) <= bearable,
        "enabled": not one["disabled"],
        "reason": one["disabled_reason"],
    }


def up(binary, host=None, venv="/opt/openstack/current/cinder", config=None, user="cinder"):
    """
    Tell whether Cinder hears of one of its processes; a health check.

    binary, host, venv, config, user
        As for :py:func:`cinder_service.state <state>`.

    Returns ``{"ok": bool, "sentence": str}`` and never raises. One that is disabled is well:
    somebody wanted that, and the sentence says so. So is a cinder-volume that stands by.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test cinder_service.up cinder-scheduler
    """
    try:
        found = state(binary, host, venv, config, user)
    except CommandExecutionError as err:
        return {"ok": False, "sentence": f"{err}."}
    if not found:
        return {"ok": True, "sentence": f"{binary} stands by: no back end is served here."}
    said = [_judged(binary, one) for one in found]
    bad = [sentence for ok, sentence in said if not ok]
    return {"ok": not bad, "sentence": " ".join(bad or [sentence for _, sentence in said])}


def _judged(binary, one):
    """Return whether a process is well, and the sentence that says it."""
    where = f"{binary} on {one['host']}"
    if "up" not in one:
        return False, f"Cinder knows no {where}."
    if not one["up"]:
        return False, f"Cinder has not heard of {where} for too long."
    if not one["enabled"]:
        why = f": {one['reason']}" if one["reason"] else ""
        return True, f"{where} is up, and disabled{why}."
    return True, f"{where} is up."


def group(name):
    """
    Return what stands against a volume group being used for volumes, as a sentence, or None.

    name
        Name of the group.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test cinder_service.group cinder-volumes
    """
    if not __salt__["file.access"](DEVICE_MAPPER, "f"):
        return (
            f"this host's kernel has no device-mapper ({DEVICE_MAPPER} is missing),"
            " so logical volumes cannot be used here: take another engine"
        )
    done = __salt__["cmd.run_all"](
        ["vgs", "--noheadings", "--options", "vg_name", name],
        python_shell=False,
        ignore_retcode=True,
    )
    if done["retcode"]:
        return f"there is no volume group {name} on this host: make it with vgcreate"
    return None
