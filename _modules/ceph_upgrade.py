"""
Daemons of a host in an upgrade by packages: which are to be replaced, and when
==============================================================================

The packages of one host are replaced together, its daemons one kind after the other: monitors,
managers, object stores, metadata servers, gateways. The turn of a kind has come when all daemons of
the kinds before it, on every host of the cluster, run the version that is wanted. So the phases of
an upgrade may be applied for any role of a host: they stop and start what has its turn, and leave
the rest as it runs.
"""

import re

from salt.exceptions import CommandExecutionError

__virtualname__ = "ceph_upgrade"

# Kinds in the order of an upgrade, with the package that has the daemon.
PACKAGES = {
    "mon": "ceph-mon",
    "mgr": "ceph-mgr",
    "osd": "ceph-osd",
    "mds": "ceph-mds",
    "rgw": "radosgw",
}
_UPSTREAM = re.compile(r"^(?:\d+:)?(\d+(?:\.\d+)*)")


def __virtual__():
    return __virtualname__


def daemons():
    """
    Tell of each daemon of this host what runs, what is wanted and whether it has its turn.

    Returns a list of ``{"kind", "name", "unit", "running", "installed", "wanted", "due"}`` in the
    order of an upgrade; versions are such as ``18.2.7``, None where there is none or nobody knows.
    Raises CommandExecutionError when the order cannot be known: the cluster does not answer, and
    this host has daemons of several kinds.

    CLI Example:

    .. code-block:: bash

        salt mon01.example.test ceph_upgrade.daemons
    """
    mine = _mine()
    kinds = list(dict.fromkeys(kind for kind, _, _ in mine))
    versions = None
    try:
        versions = _versions()
    except CommandExecutionError:
        if len(kinds) > 1:
            raise
    found = []
    for kind, name, unit in mine:
        package = PACKAGES[kind]
        installed = _upstream(__salt__["pkg.version"](package))
        wanted = _upstream(__salt__["pkg.latest_version"](package, refresh=False)) or installed
        running = installed if versions is None else versions[kind].get(name)
        turn = versions is None or all(
            version == wanted
            for before in list(PACKAGES)[: list(PACKAGES).index(kind)]
            for version in versions[before].values()
        )
        found.append(
            {
                "kind": kind,
                "name": name,
                "unit": unit,
                "running": running,
                "installed": installed,
                "wanted": wanted,
                "due": bool(turn and wanted and running != wanted),
            }
        )
    return found


def finalize():
    """
    Let the cluster use what its release brings, once every object store runs it.

    There is no way back: object stores of the release before cannot join any more.

    Returns a sentence. Raises CommandExecutionError when an object store runs another release than
    the model's, or is not up to say so.

    CLI Example:

    .. code-block:: bash

        salt mon01.example.test ceph_upgrade.finalize
    """
    release = (__pillar__.get("ceph", {}).get("common") or {}).get("release")
    if not release:
        raise CommandExecutionError("ceph:common:release is missing in the model.")
    dump = __salt__["ceph_cluster.command"]("osd dump")
    if dump.get("require_osd_release") == release:
        return f"The cluster has finished its upgrade to {release}."
    told = __salt__["ceph_cluster.command"]("osd metadata") or []
    runs = {str(one["id"]): _release(one.get("ceph_version")) for one in told if "id" in one}
    wrong = []
    for osd in dump["osds"]:
        name = str(osd["osd"])
        if not osd["up"]:
            wrong.append(f"osd.{name} is down")
        elif runs.get(name) != release:
            wrong.append(f"osd.{name} runs {runs.get(name) or 'an unknown release'}")
    if wrong:
        raise CommandExecutionError(
            f"The upgrade to {release} cannot be finished: {'; '.join(wrong)}."
        )
    __salt__["ceph_cluster.command"]("osd require-osd-release", arguments={"release": release})
    return f"The cluster requires {release} from now on."


def _release(version):
    """``reef`` of ``ceph version 18.2.7 (…) reef (stable)``, as daemons tell it."""
    words = (version or "").split()
    return words[-2] if len(words) >= 5 else None


def _mine():
    """(kind, name, unit) of each daemon that the model puts on this host."""
    roles = __pillar__.get("ceph", {})
    short = __salt__["ceph_daemon.name"]()
    found = []
    for kind in PACKAGES:
        if not (roles.get(kind) or {}).get("enabled"):
            continue
        if kind == "osd":
            for store in __salt__["ceph_store.stores"]():
                found.append((kind, str(store["id"]), store["unit"]))
        elif kind == "rgw":
            found.append((kind, short, "ceph-radosgw@rgw"))
        else:
            found.append((kind, short, f"ceph-{kind}@{short}"))
    return found


def _versions():
    """Kind to {daemon: version} of the whole cluster, as the monitors know it."""
    found = {kind: {} for kind in PACKAGES}
    for kind in ("mon", "mgr", "osd", "mds"):
        for one in __salt__["ceph_cluster.command"](f"{kind} metadata") or []:
            version = one.get("ceph_version_short")
            # a daemon that never ran has no version, and holds nobody up
            if version:
                found[kind][str(one.get("name", one.get("id")))] = version
    services = (__salt__["ceph_cluster.command"]("service dump") or {}).get("services", {})
    for number, one in (services.get("rgw", {}).get("daemons") or {}).items():
        told = one.get("metadata") if isinstance(one, dict) else None
        if told and told.get("ceph_version_short"):
            host = str(told.get("hostname", number)).partition(".")[0]
            found["rgw"][host] = told["ceph_version_short"]
    return found


def _upstream(version):
    match = _UPSTREAM.match(version or "")
    return match.group(1) if match else None
