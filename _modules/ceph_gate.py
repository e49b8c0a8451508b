"""
Questions that decide whether a daemon of Ceph may go, and whether it is back
=============================================================================

Asked before and after every wave, as ``{call: ceph_gate.…}`` in a role's lifecycle or by hand. Each
answers ``{"ok": bool, "sentence": str}``; what cannot be asked is not ok.
"""

import time

from salt.exceptions import CommandExecutionError

__virtualname__ = "ceph_gate"

# What the manager answers when it says no, and when it does not know yet.
_NO = (-16, -11)


def __virtual__():
    return __virtualname__


def _ask(prefix, **more):
    return __salt__["ceph_cluster.command"](prefix, **more)


def in_quorum(name=None):
    """
    Check that a monitor is in the quorum, and that the others could do without it.

    name
        Of the monitor; default: this host's

    Returns ``{"ok", "verdict", "sentence"}``; a quorum that would end with the loss of one more
    monitor is content with a warning.

    CLI Example:

    .. code-block:: bash

        salt 'mon*' ceph_gate.in_quorum
    """
    name = name or _name()
    try:
        found = _ask("quorum_status")
    except CommandExecutionError as err:
        return {"ok": False, "verdict": "fail", "sentence": str(err)}
    quorum = sorted(found["quorum_names"])
    everyone = sorted(item["name"] for item in found["monmap"]["mons"])
    if name not in everyone:
        sentence = f"Monitor {name} is not in the map of the cluster ({', '.join(everyone)})."
        return {"ok": False, "verdict": "fail", "sentence": sentence}
    if name not in quorum:
        sentence = f"Monitor {name} is not in the quorum of {', '.join(quorum)}."
        return {"ok": False, "verdict": "fail", "sentence": sentence}
    spare = len(quorum) - 1 > len(everyone) // 2
    sentence = f"{len(quorum)} of {len(everyone)} monitors are in the quorum"
    sentence += "." if spare or len(everyone) == 1 else "; it ends with the loss of one more."
    verdict = "ok" if len(quorum) == len(everyone) else "warn"
    return {"ok": True, "verdict": verdict, "sentence": sentence}


def quorum_without(name=None):
    """
    Check that a majority of the monitors is left when one goes, before it goes.

    name
        Of the monitor; default: this host's

    Returns ``{"ok", "sentence"}``.

    CLI Example:

    .. code-block:: bash

        salt mon01.example.test ceph_gate.quorum_without
    """
    name = name or _name()
    try:
        found = _ask("quorum_status")
    except CommandExecutionError as err:
        return {"ok": False, "sentence": str(err)}
    left = sorted(set(found["quorum_names"]) - {name})
    everyone = len(found["monmap"]["mons"])
    good = len(left) > everyone // 2
    sentence = f"Without {name} there are {len(left)} of {everyone} monitors in the quorum"
    return {
        "ok": good,
        "sentence": f"{sentence}." if good else f"{sentence}, which is no majority.",
    }


def manager_active(name=None):
    """
    Check that a manager is active, and that this host's is that one or stands by.

    name
        Of the manager; default: this host's

    Returns ``{"ok", "sentence"}``.

    CLI Example:

    .. code-block:: bash

        salt 'mon*' ceph_gate.manager_active
    """
    name = name or _name()
    try:
        found = _ask("mgr dump")
    except CommandExecutionError as err:
        return {"ok": False, "sentence": str(err)}
    if not found.get("available"):
        return {"ok": False, "sentence": "No manager is active."}
    known = {found["active_name"], *(item["name"] for item in found["standbys"])}
    if name not in known:
        return {"ok": False, "sentence": f"Manager {name} has not reported to the monitors."}
    role = "is active" if name == found["active_name"] else "stands by"
    return {"ok": True, "sentence": f"Manager {name} {role}."}


def _name():
    return __pillar__.get("host", {}).get("name") or __grains__["id"].partition(".")[0]


def _ids(ids):
    return [str(one) for one in (ids if isinstance(ids, list | tuple) else [ids])]


def _label(ids):
    return ", ".join(f"osd.{one}" for one in _ids(ids))


def _judged(command, ids):
    """What the manager says of object stores, and why it could not be asked, empty when it was."""
    try:
        found = _ask(command, target="mgr", accept=_NO, arguments={"ids": _ids(ids)})
    except CommandExecutionError as err:
        return {}, str(err)
    return (found if isinstance(found, dict) else {}), ""


def ok_to_stop(ids):
    """
    Ask the manager whether object stores may stop, all at once, and data stay available.

    ids
        Numbers of object stores, such as ``[0, 3]``

    Returns ``{"ok", "sentence"}``.

    CLI Example:

    .. code-block:: bash

        salt mon01.example.test ceph_gate.ok_to_stop '[0, 3]'
    """
    found, unasked = _judged("osd ok-to-stop", ids)
    if unasked:
        return {"ok": False, "sentence": unasked}
    if found.get("ok_to_stop") is True:
        return {"ok": True, "sentence": f"{_label(ids)} may stop."}
    number = found.get("num_not_ok_pgs", 0)
    why = (
        f"{number} placement groups would be unavailable"
        if number
        else "the manager does not know all placement groups yet"
    )
    return {"ok": False, "sentence": f"{_label(ids)} cannot stop: {why}."}


def safe_to_destroy(ids):
    """
    Ask the manager whether object stores hold nothing that is not elsewhere in full number.

    ids
        Numbers of object stores

    Returns ``{"ok", "sentence"}``.

    CLI Example:

    .. code-block:: bash

        salt mon01.example.test ceph_gate.safe_to_destroy '[3]'
    """
    found, unasked = _judged("osd safe-to-destroy", ids)
    if unasked:
        return {"ok": False, "sentence": unasked}
    if {str(one) for one in found.get("safe_to_destroy", ())} >= set(_ids(ids)):
        return {"ok": True, "sentence": f"{_label(ids)} may go for ever."}
    reasons = [
        f"{text}: {_label(found[key])}"
        for key, text in (
            ("active", "placement groups are there"),
            ("missing_stats", "nothing is known of"),
            ("stored_pgs", "data is stored there"),
        )
        if found.get(key)
    ]
    why = "; ".join(reasons) or "the manager does not know all placement groups yet"
    return {"ok": False, "sentence": f"{_label(ids)} cannot go for ever: {why}."}


def _clean(state):
    """Whether placement groups in this state serve and have all their copies."""
    words = set(state.split("+"))
    return {"active", "clean"} <= words and not words & {"inconsistent", "snaptrim_error"}


def pgs():
    """
    Tell whether all placement groups are active and clean, and what keeps those that are not.

    Returns ``{"ok", "sentence", "clean", "all", "states": {state: number}, "down": {"osd.7":
    seconds since the epoch}}``.

    CLI Example:

    .. code-block:: bash

        salt mon01.example.test ceph_gate.pgs
    """
    try:
        found, dump = _ask("status")["pgmap"], _ask("osd dump")
    except CommandExecutionError as err:
        nothing = {"clean": 0, "all": 0, "states": {}, "down": {}}
        return {"ok": False, "sentence": str(err), **nothing}
    states = {item["state_name"]: item["count"] for item in found.get("pgs_by_state", [])}
    clean = sum(number for state, number in states.items() if _clean(state))
    since = {item["osd"]: item.get("down_stamp", "") for item in dump.get("osd_xinfo", [])}
    down = {
        f"osd.{item['osd']}": since.get(item["osd"], "") for item in dump["osds"] if not item["up"]
    }
    everything = found.get("num_pgs", 0)
    sentence = f"{clean} of {everything} placement groups are active and clean"
    wrong = [f"{number} {state}" for state, number in sorted(states.items()) if not _clean(state)]
    if wrong:
        sentence += f"; {', '.join(wrong)}"
    if down:
        sentence += "; " + ", ".join(
            f"{name} is down" + (f" since {stamp[:19]}" if stamp[:1] in "12" else "")
            for name, stamp in sorted(down.items())
        )
    return {
        "ok": clean == everything,
        "sentence": f"{sentence}.",
        "clean": clean,
        "all": everything,
        "states": states,
        "down": down,
    }


def wait_clean(timeout=300, interval=2):
    """
    Wait until all placement groups are active and clean.

    timeout
        Seconds
    interval
        Seconds between two looks

    Returns what :py:func:`pgs` does. Raises CommandExecutionError with the diagnosis when they are
    not clean in time.

    CLI Example:

    .. code-block:: bash

        salt mon01.example.test ceph_gate.wait_clean timeout=600
    """
    end = time.monotonic() + timeout
    while True:
        found = pgs()
        if found["ok"]:
            return found
        if time.monotonic() > end:
            raise CommandExecutionError(f"Not clean after {timeout} s: {found['sentence']}")
        time.sleep(interval)
