"""
Questions that decide whether a daemon of Ceph may go, and whether it is back
=============================================================================

Asked before and after every wave, as ``{call: ceph_gate.…}`` in a role's lifecycle or by hand. Each
answers ``{"ok": bool, "verdict": "ok" | "warn" | "fail", "code": str, "sentence": str}``; what
cannot be asked is not ok. The codes are in ``docs/reference/codes.md``.
"""

import time

from salt.exceptions import CommandExecutionError

__virtualname__ = "ceph_gate"

# What the manager answers when it says no, and when it does not know yet.
_NO = (-16, -11)
# Ceph's own checks by what they mean here, the worst first; the rest is a warning like any other.
_CODES = {
    "ceph-damaged": ("PG_DAMAGED", "OSD_SCRUB_ERRORS", "OBJECT_UNFOUND"),
    "ceph-full": (
        "OSD_FULL", "OSD_BACKFILLFULL", "OSD_NEARFULL", "POOL_FULL", "POOL_BACKFILLFULL",
        "POOL_NEARFULL", "PG_BACKFILL_FULL", "PG_RECOVERY_FULL", "MON_DISK_CRIT", "MON_DISK_LOW",
        "BLUEFS_SPILLOVER",
    ),
    "ceph-clock": ("MON_CLOCK_SKEW",),
    "ceph-quorum": ("MON_DOWN",),
    "ceph-manager": ("MGR_DOWN",),
    "ceph-down": (
        "OSD_DOWN", "OSD_HOST_DOWN", "OSD_RACK_DOWN", "OSD_ROOT_DOWN", "OSD_ORPHAN",
        "MDS_ALL_DOWN", "FS_WITH_FAILED_MDS", "FS_DEGRADED", "MDS_INSUFFICIENT_STANDBY",
    ),
    "ceph-pgs": ("PG_AVAILABILITY", "PG_DEGRADED", "OBJECT_MISPLACED", "PG_NOT_CLEAN"),
    "ceph-slow": ("SLOW_OPS", "OSD_SLOW_PING_TIME_BACK", "OSD_SLOW_PING_TIME_FRONT"),
    "ceph-flags": ("OSDMAP_FLAGS", "OSD_FLAGS"),
}  # fmt: skip


def __virtual__():
    return __virtualname__


def _answer(code, sentence, verdict=""):
    verdict = verdict or ("ok" if code == "ok" else "fail")
    return {"ok": verdict != "fail", "verdict": verdict, "code": code, "sentence": sentence}


def _unasked(err):
    return _answer("ceph-unreachable", str(err))


def cluster(ignore=(), only=()):
    """
    Check the health of the whole cluster; flags that are held as a lease do not count against it,
    and neither does what somebody accepted (``ceph health mute``).

    ignore
        Codes of Ceph's checks that do not count either

    only
        Codes of Ceph's checks that count, and no others; empty for all

    Returns the verdict on the worst of what Ceph warns of, with all of it in the sentence.

    CLI Example:

    .. code-block:: bash

        salt mon01.example.test ceph_gate.cluster
        salt mon01.example.test ceph_gate.cluster only='[MON_CLOCK_SKEW]'
    """
    try:
        found = __salt__["ceph_cluster.health"](ignore)
    except CommandExecutionError as err:
        return _unasked(err)
    if found["ok"]:
        code = "ok" if found["verdict"] == "ok" else "ceph-flags"
        return _answer(code, found["sentence"], found["verdict"])
    if only and not {*only} & {*found["checks"]}:
        return _answer("ok", f"The cluster does not warn of {', '.join(only)}.")
    named = (code for code, checks in _CODES.items() if {*checks} & {*found["checks"]})
    return _answer(next(named, "ceph-warning"), found["sentence"])


def _ask(prefix, **more):
    return __salt__["ceph_cluster.command"](prefix, **more)


def in_quorum(name=None):
    """
    Check that a monitor is in the quorum, and that the others could do without it.

    name
        Of the monitor; default: this host's

    Returns the verdict; a quorum that would end with the loss of one more
    monitor is content with a warning.

    CLI Example:

    .. code-block:: bash

        salt 'mon*' ceph_gate.in_quorum
    """
    name = name or __salt__["ceph_daemon.name"]()
    try:
        found = _ask("quorum_status")
    except CommandExecutionError as err:
        return _unasked(err)
    quorum = sorted(found["quorum_names"])
    everyone = sorted(item["name"] for item in found["monmap"]["mons"])
    if name not in everyone:
        sentence = f"Monitor {name} is not in the map of the cluster ({', '.join(everyone)})."
        return _answer("ceph-quorum", sentence)
    if name not in quorum:
        sentence = f"Monitor {name} is not in the quorum of {', '.join(quorum)}."
        return _answer("ceph-quorum", sentence)
    spare = len(quorum) - 1 > len(everyone) // 2
    sentence = f"{len(quorum)} of {len(everyone)} monitors are in the quorum"
    sentence += "." if spare or len(everyone) == 1 else "; it ends with the loss of one more."
    if len(quorum) == len(everyone):
        return _answer("ok", sentence)
    return _answer("ceph-quorum", sentence, "warn")


def quorum_without(name=None):
    """
    Check that a majority of the monitors is left when some go, before they go.

    name
        Of the monitor, or a list of names; default: this host's

    Returns the verdict.

    CLI Example:

    .. code-block:: bash

        salt mon01.example.test ceph_gate.quorum_without
        salt mon01.example.test ceph_gate.quorum_without '[mon02, mon03]'
    """
    names = _names(name or __salt__["ceph_daemon.name"]())
    try:
        found = _ask("quorum_status")
    except CommandExecutionError as err:
        return _unasked(err)
    left = sorted({*found["quorum_names"]} - {*names})
    everyone = len(found["monmap"]["mons"])
    sentence = f"Without {', '.join(names)} {len(left)} of {everyone} monitors are in the quorum"
    if len(left) > everyone // 2:
        return _answer("ok", f"{sentence}.")
    return _answer("ceph-quorum", f"{sentence}, which is no majority.")


def manager_active(name=None):
    """
    Check that a manager is active, and that this host's is that one or stands by.

    name
        Of the manager; default: this host's

    Returns the verdict.

    CLI Example:

    .. code-block:: bash

        salt 'mon*' ceph_gate.manager_active
    """
    name = name or __salt__["ceph_daemon.name"]()
    try:
        found = _ask("mgr dump")
    except CommandExecutionError as err:
        return _unasked(err)
    if not found.get("available"):
        return _answer("ceph-manager", "No manager is active.")
    known = {found["active_name"], *(item["name"] for item in found["standbys"])}
    if name not in known:
        return _answer("ceph-manager", f"Manager {name} has not reported to the monitors.")
    role = "is active" if name == found["active_name"] else "stands by"
    return _answer("ok", f"Manager {name} {role}.")


def _names(names):
    return [str(one) for one in (names if isinstance(names, list | tuple) else [names])]


def _label(ids):
    return ", ".join(f"osd.{one}" for one in _names(ids))


def _judged(command, ids):
    """What the manager says of object stores, and why it could not be asked, empty when it was."""
    try:
        found = _ask(command, target="mgr", accept=_NO, arguments={"ids": _names(ids)})
    except CommandExecutionError as err:
        return {}, str(err)
    return (found if isinstance(found, dict) else {}), ""


def ok_to_stop(ids):
    """
    Ask the manager whether object stores may stop, all at once, and data stay available.

    ids
        Numbers of object stores, such as ``[0, 3]``

    Returns the verdict.

    CLI Example:

    .. code-block:: bash

        salt mon01.example.test ceph_gate.ok_to_stop '[0, 3]'
    """
    found, unasked = _judged("osd ok-to-stop", ids)
    if unasked:
        return _unasked(unasked)
    if found.get("ok_to_stop") is True:
        return _answer("ok", f"{_label(ids)} may stop.")
    number = found.get("num_not_ok_pgs", 0)
    why = (
        f"{number} placement groups would be unavailable"
        if number
        else "the manager does not know all placement groups yet"
    )
    return _answer("ceph-stop", f"{_label(ids)} cannot stop: {why}.")


def hosts_ok_to_stop(names):
    """
    Ask the manager whether all object stores of some hosts may stop, all at once.

    names
        Of the hosts in the CRUSH map; one without object stores takes nothing away

    Returns the verdict.

    CLI Example:

    .. code-block:: bash

        salt mon01.example.test ceph_gate.hosts_ok_to_stop '[osd01, osd02]'
    """
    names = _names(names)
    try:
        tree = __salt__["ceph_cluster.osd_tree"]()
    except CommandExecutionError as err:
        return _unasked(err)
    ids = [osd["id"] for osd in tree.values() if osd["location"].get("host") in names]
    if not ids:
        return _answer("ok", f"{', '.join(names)}: no object store is there.")
    found = ok_to_stop(ids)
    found["sentence"] = f"{', '.join(names)}: {found['sentence']}"
    return found


def safe_to_destroy(ids):
    """
    Ask the manager whether object stores hold nothing that is not elsewhere in full number.

    ids
        Numbers of object stores

    Returns the verdict.

    CLI Example:

    .. code-block:: bash

        salt mon01.example.test ceph_gate.safe_to_destroy '[3]'
    """
    found, unasked = _judged("osd safe-to-destroy", ids)
    if unasked:
        return _unasked(unasked)
    if {str(one) for one in found.get("safe_to_destroy", ())} >= set(_names(ids)):
        return _answer("ok", f"{_label(ids)} may go for ever.")
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
    return _answer("ceph-destroy", f"{_label(ids)} cannot go for ever: {why}.")


def _clean(state):
    """Whether placement groups in this state serve and have all their copies."""
    words = set(state.split("+"))
    return {"active", "clean"} <= words and not words & {"inconsistent", "snaptrim_error"}


def pgs():
    """
    Tell whether all placement groups are active and clean, and what keeps those that are not.

    What somebody accepted (``ceph health mute PG_DEGRADED``) is a warning, while all of them serve.
    While a store went down a moment ago they are not clean, as nobody has counted them since.

    Returns the verdict and ``{"clean", "all", "states": {state: number}, "down": {"osd.7":
    since when}}``.

    CLI Example:

    .. code-block:: bash

        salt mon01.example.test ceph_gate.pgs
    """
    try:
        status, dump = _ask("status"), _ask("osd dump")
    except CommandExecutionError as err:
        return {**_unasked(err), "clean": 0, "all": 0, "states": {}, "down": {}}
    found = status["pgmap"]
    states = {item["state_name"]: item["count"] for item in found.get("pgs_by_state", [])}
    clean = sum(number for state, number in states.items() if _clean(state))
    down = __salt__["ceph_map.down"](dump)
    everything = found.get("num_pgs", 0)
    sentence = f"{clean} of {everything} placement groups are active and clean"
    wrong = [f"{number} {state}" for state, number in sorted(states.items()) if not _clean(state)]
    if wrong:
        blockers = __salt__["ceph_map.blockers"](sorted(states))
        sentence += f"; {', '.join(wrong)}"
        sentence += f"; blocked by {', '.join(blockers)}" if blockers else ""
    if down:
        sentence += "; " + ", ".join(
            f"{name} is down" + (f" since {stamp}" if stamp else "")
            for name, stamp in sorted(down.items())
        )
    uncounted = __salt__["ceph_map.uncounted"](dump)
    if uncounted and not wrong:
        sentence += f"; counted before {', '.join(uncounted)} went down a moment ago"
    good = clean == everything and not uncounted
    code, verdict = ("ok", "ok") if good else ("ceph-pgs", "fail")
    if any("inconsistent" in state for state in states):
        code = "ceph-damaged"
    serving = all("active" in state.split("+") for state in states)
    if code == "ceph-pgs" and serving and _muted(status):
        verdict = "warn"
    more = {"clean": clean, "all": everything, "states": states, "down": down}
    return {**_answer(code, f"{sentence}.", verdict), **more}


def _muted(status):
    """Whether somebody accepted that copies are missing."""
    checks = status["health"]["checks"]
    named = [checks[code] for code in _CODES["ceph-pgs"] if code in checks]
    return bool(named) and all(check.get("muted") for check in named)


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
