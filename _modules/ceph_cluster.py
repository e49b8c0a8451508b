"""
Ask a Ceph cluster what it is and how it is, and tell it what to do
===================================================================

Everything is a command of the monitors or of the manager, as JSON over ``librados``: no program is
run and no text is parsed. The commands go out as the strongest identity whose key this host has:
``client.admin`` on monitors, ``client.saltern`` on hosts of object stores.

:depends: python3-rados, which the role ``ceph.common`` installs
"""

import base64
import contextlib
import json
import os
import struct

from salt.exceptions import CommandExecutionError

__virtualname__ = "ceph_cluster"

CONF = "/etc/ceph/ceph.conf"
# Identities by falling power; the first whose key is on this host is used.
IDENTITIES = ("client.admin", "client.saltern")
# Seconds until a connection counts as refused, and until a command counts as unanswered.
CONNECT, ANSWER = 10, 30
# Where the cluster itself keeps who asked for a flag: a lost master loses no lease.
LEASES = "saltern/lease/"
# Checks of Ceph that only say that a flag is set.
FLAG_CHECKS = ("OSDMAP_FLAGS", "OSD_FLAGS")
# That an upgrade has a last step, which the plan takes when all hosts are done.
UPGRADE_CHECK = "OSD_UPGRADE_FINISHED"


def __virtual__():
    return __virtualname__


def cephx(key):
    """
    Wrap 16 bytes as a CephX key, the way Ceph writes it in a keyring.

    key
        32 hexadecimal digits; a key that is wrapped already is returned as it is

    CLI Example:

    .. code-block:: bash

        salt mon01.example.test ceph_cluster.cephx 000102030405060708090a0b0c0d0e0f
    """
    if len(key) == 40 and key.endswith("=="):
        return key
    try:
        secret = bytes.fromhex(key)
    except ValueError:
        secret = b""
    if len(secret) != 16:
        raise CommandExecutionError(
            "A key of Ceph is 32 hexadecimal digits or what `ceph-authtool --gen-print-key`"
            " prints; correct it in the model."
        )
    # type (AES), creation time (none), length, secret: CryptoKey::encode in src/auth/Crypto.cc
    return base64.b64encode(struct.pack("<HIIH", 1, 0, 0, len(secret)) + secret).decode()


@contextlib.contextmanager
def _connected():
    """A connection as the strongest identity of this host."""
    try:
        import rados
    except ImportError:
        raise CommandExecutionError(
            "python3-rados is not installed for Salt's Python: apply ceph.common first."
        ) from None
    directory = os.path.dirname(CONF)
    for name in IDENTITIES:
        keyring = f"{directory}/ceph.{name}.keyring"
        if os.path.exists(keyring):
            break
    else:
        raise CommandExecutionError(
            f"This host has no key to ask Ceph with: none of {', '.join(IDENTITIES)} in"
            f" {directory}. Apply ceph.mon or ceph.osd to it."
        )
    handle = None
    try:
        conf = {
            "keyring": keyring,
            "client_mount_timeout": str(CONNECT),
            "rados_mon_op_timeout": str(ANSWER),
            "rados_osd_op_timeout": str(ANSWER),
        }
        handle = rados.Rados(name=name, conffile=CONF, conf=conf)
        handle.connect(timeout=CONNECT)
    except rados.Error as err:
        _shut(handle)
        raise CommandExecutionError(
            f"The monitors in {CONF} do not answer {name}: {type(err).__name__}."
            " Without a majority of them nothing can be asked."
        ) from None
    try:
        yield handle
    finally:
        _shut(handle)


def _shut(handle):
    if handle is not None:
        with contextlib.suppress(Exception):
            handle.shutdown()


def _ask(handle, prefix, target, body, accept, arguments):
    """Send one command; return its answer."""
    words = {"prefix": prefix, "format": "json", **arguments}
    send = handle.mgr_command if target == "mgr" else handle.mon_command
    code, out, told = send(json.dumps(words), body)
    if code and code not in accept:
        reason = str(told or os.strerror(abs(code))).strip().rstrip(".")
        raise CommandExecutionError(f"ceph {prefix}: {reason}.")
    if not out.strip():
        return None
    try:
        return json.loads(out)
    except ValueError:
        return out.decode(errors="replace").strip()


def command(prefix, target="mon", body="", accept=(), arguments=None):
    """
    Give the cluster one command and return what it answers.

    prefix
        The command's words, such as ``osd pool create``
    target
        ``mon`` or ``mgr``, whoever knows the command
    body
        Text that goes with it, such as a keyring; it is in no log
    accept
        Error numbers that are an answer too
    arguments
        The command's arguments by name

    Returns the decoded JSON, None for an empty answer. Raises CommandExecutionError when the
    cluster cannot be asked or refuses.

    CLI Example:

    .. code-block:: bash

        salt mon01.example.test ceph_cluster.command 'osd dump'
    """
    with _connected() as handle:
        return _ask(handle, prefix, target, body.encode(), accept, arguments or {})


def status():
    """
    Return the state of the cluster.

    Returns ``{"fsid", "health": {"status", "checks": {code: sentence}}, "monitors": [names],
    "quorum": [names], "manager": name or "", "osds": {"all", "up", "in"}, "pools", "pgs":
    {"all", "clean", "states": {state: number}}, "bytes": {"used", "free", "all"}}``. Raises
    CommandExecutionError when there is no quorum to ask.

    CLI Example:

    .. code-block:: bash

        salt mon01.example.test ceph_cluster.status
    """
    with _connected() as handle:
        found = _ask(handle, "status", "mon", b"", (), {})
        monitors = _ask(handle, "mon dump", "mon", b"", (), {})
        manager = _ask(handle, "mgr dump", "mon", b"", (), {})
    pgs, osds = found["pgmap"], found["osdmap"]
    osds = osds.get("osdmap", osds)  # nested before Octopus
    states = {item["state_name"]: item["count"] for item in pgs.get("pgs_by_state", [])}
    return {
        "fsid": found["fsid"],
        "health": {
            "status": found["health"]["status"],
            "checks": {
                code: check["summary"]["message"]
                for code, check in sorted(found["health"]["checks"].items())
                if not check.get("muted")
            },
        },
        "monitors": sorted(item["name"] for item in monitors["mons"]),
        "quorum": sorted(found["quorum_names"]),
        "manager": manager.get("active_name", "") if manager.get("available") else "",
        "osds": {
            "all": osds["num_osds"],
            "up": osds["num_up_osds"],
            "in": osds["num_in_osds"],
        },
        "pools": pgs.get("num_pools", 0),
        "pgs": {
            "all": pgs.get("num_pgs", 0),
            "clean": sum(n for state, n in states.items() if _clean(state)),
            "states": states,
        },
        "bytes": {
            "used": pgs.get("bytes_used", 0),
            "free": pgs.get("bytes_avail", 0),
            "all": pgs.get("bytes_total", 0),
        },
    }


def _clean(state):
    """Whether placement groups in this state serve and have all their copies."""
    words = set(state.split("+"))
    return {"active", "clean"} <= words and not words & {"inconsistent", "snaptrim_error"}


def leases():
    """
    Return the flags that somebody holds through Saltern: ``{"noout/osd01": {"owner", "since"}}``.

    CLI Example:

    .. code-block:: bash

        salt mon01.example.test ceph_cluster.leases
    """
    with _connected() as handle:
        return _leases(handle)


def _leases(handle):
    found = _ask(handle, "config-key dump", "mon", b"", (), {"key": LEASES}) or {}
    return {key.removeprefix(LEASES): json.loads(value) for key, value in sorted(found.items())}


def flags():
    """
    Return the flags that are set, as leases are named: ``noout`` of all, ``noout/osd01`` of a host.

    CLI Example:

    .. code-block:: bash

        salt mon01.example.test ceph_cluster.flags
    """
    with _connected() as handle:
        return sorted(_flags(handle))


def _flags(handle):
    """Flags that are set, as leases are named."""
    dump = _ask(handle, "osd dump", "mon", b"", (), {})
    temporary = ("noup", "nodown", "noin", "noout", "norebalance", "norecover", "nobackfill",
                 "noscrub", "nodeep-scrub", "pauserd", "pausewr")  # fmt: skip
    found = {flag for flag in dump["flags_set"] if flag in temporary}
    for name, flags in dump.get("crush_node_flags", {}).items():
        found |= {f"{flag}/{name}" for flag in flags}
    for name, flags in dump.get("device_class_flags", {}).items():
        found |= {f"{flag}/class {name}" for flag in flags}
    for osd in dump["osds"]:
        found |= {f"{flag}/osd.{osd['osd']}" for flag in osd["state"] if flag in temporary}
    return found


def health(ignore=()):
    """
    Tell whether the cluster is healthy; flags that are held as a lease do not count against it, nor
    that an upgrade to the model's release is not finished.

    ignore
        Codes of Ceph's checks that do not count either, such as ``OSD_DOWN`` while one restarts

    Returns ``{"ok", "verdict": "ok" | "warn" | "fail", "sentence", "status", "checks": {code:
    sentence}, "held": [flags], "ignored": {code: sentence}}``. A warning that is nobody's lease is
    ``fail``, as nobody may go on over it unseen. Raises CommandExecutionError when there is no
    quorum to ask.

    CLI Example:

    .. code-block:: bash

        salt mon01.example.test ceph_cluster.health
        salt mon01.example.test ceph_cluster.health ignore='[OSD_DOWN, PG_DEGRADED]'
    """
    with _connected() as handle:
        found = _ask(handle, "health", "mon", b"", (), {})
        flags, held = _flags(handle), set(_leases(handle))
        upgrading = UPGRADE_CHECK in found["checks"] and _upgrading(handle)
    checks = {
        code: check["summary"]["message"]
        for code, check in sorted(found["checks"].items())
        if not check.get("muted")
    }
    ignored = {code: text for code, text in checks.items() if code in ignore}
    if flags and flags <= held:
        ignored.update({code: text for code, text in checks.items() if code in FLAG_CHECKS})
    if upgrading and UPGRADE_CHECK in checks:
        ignored[UPGRADE_CHECK] = checks[UPGRADE_CHECK]
    left = {code: text for code, text in checks.items() if code not in ignored}
    told = "; ".join(f"{code}: {text}" for code, text in left.items())
    held = sorted(flags & held)
    if left:
        sentence = f"{found['status']}: {told}."
    elif ignored:
        sentence = f"Healthy but for {', '.join(ignored)}."
    else:
        sentence = "HEALTH_OK."
    if held:
        sentence += f" Held: {', '.join(held)}."
    return {
        "ok": not left,
        "verdict": "fail" if left else "warn" if ignored else "ok",
        "sentence": sentence,
        "status": found["status"],
        "checks": left,
        "held": held,
        "ignored": ignored,
    }


def _upgrading(handle):
    """Whether the model wants a release that the cluster does not require yet."""
    wanted = (__pillar__.get("ceph", {}).get("common") or {}).get("release")
    dump = _ask(handle, "osd dump", "mon", b"", (), {})
    return bool(wanted) and dump.get("require_osd_release") != wanted


def healthy(ignore=()):
    """
    Check the health of the cluster, for a role's lifecycle.

    ignore
        As of :py:func:`health`

    Returns ``{"ok", "verdict", "sentence"}``.

    CLI Example:

    .. code-block:: bash

        salt 'mon*' ceph_cluster.healthy
    """
    try:
        found = health(ignore)
    except CommandExecutionError as err:
        return {"ok": False, "verdict": "fail", "sentence": str(err)}
    return {key: found[key] for key in ("ok", "verdict", "sentence")}


def osd_tree():
    """
    Return the object stores and where they are.

    Returns ``{"osd.0": {"id", "up", "in", "destroyed", "class", "weight", "location": {type:
    name}}}``; ``destroyed`` is a number that waits for a new store.

    CLI Example:

    .. code-block:: bash

        salt mon01.example.test ceph_cluster.osd_tree
    """
    tree = command("osd tree")
    nodes = {item["id"]: item for item in [*tree["nodes"], *tree.get("stray", [])]}
    parents = {child: item for item in nodes.values() for child in item.get("children", [])}
    found = {}
    for item in nodes.values():
        if item["type"] != "osd":
            continue
        location, above = {}, parents.get(item["id"])
        while above is not None:
            location[above["type"]] = above["name"]
            above = parents.get(above["id"])
        found[item["name"]] = {
            "id": item["id"],
            "up": item["status"] == "up",
            "in": item.get("reweight", 0) > 0,
            "destroyed": item["status"] == "destroyed",
            "class": item.get("device_class", ""),
            "weight": item.get("crush_weight", 0),
            "location": location,
        }
    return found
