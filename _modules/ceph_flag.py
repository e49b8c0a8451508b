"""
Flags of a Ceph cluster as leases: who set one, since when, and how it is given back
====================================================================================

A flag such as ``norebalance`` that nobody remembers is how clusters lose data later. Whoever sets
one here leaves a note in the cluster itself first, so that the next one can give it back after any
crash, and health (``ceph_cluster.health``) tells a flag that is held from one that is forgotten.

Called on a host of a monitor.
"""

import json
import time

from salt.exceptions import CommandExecutionError

__virtualname__ = "ceph_flag"

_OWNER = "saltern"
_NOTE = "saltern/lease/"


def __virtual__():
    return __virtualname__


def _command(prefix, **arguments):
    return __salt__["ceph_cluster.command"](prefix, arguments=arguments)


def held():
    """
    Tell which flags are set and who holds them.

    Returns ``{"leases": {flag: {"owner", "since"}}, "strays": [flags that are nobody's lease],
    "idle": [leases whose flag is not set]}``; a flag of one host is ``noout/osd01``.

    CLI Example:

    .. code-block:: bash

        salt mon01.example.test ceph_flag.held
    """
    leases = __salt__["ceph_cluster.leases"]()
    flags = {*__salt__["ceph_cluster.flags"]()}
    return {
        "leases": leases,
        "strays": sorted(flags - {*leases}),
        "idle": sorted({*leases} - flags),
    }


def take(flag, owner=_OWNER):
    """
    Set a flag of the whole cluster and note who holds it.

    flag
        ``noout``, ``norebalance``, ``nobackfill`` …
    owner
        Who wants it; only the same may give it back

    Returns a sentence. Raises CommandExecutionError when somebody else holds it, or when it is set
    already and nobody's lease.

    CLI Example:

    .. code-block:: bash

        salt mon01.example.test ceph_flag.take norebalance
    """
    now = held()
    lease = _mine(now["leases"], flag, owner)
    if not lease and flag in now["strays"]:
        raise CommandExecutionError(
            f"{flag} is set, and nobody's lease: whoever set it must unset it (ceph osd unset"
            f" {flag})."
        )
    if not lease:
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        value = json.dumps({"owner": owner, "since": since})
        # before the flag: after a crash between them there is nothing that nobody knows of
        _command("config-key set", key=f"{_NOTE}{flag}", val=value)
    _command("osd set", key=flag)
    return f"{flag} is held."


def give(flag, owner=_OWNER, force=False):
    """
    Unset a flag that is held, of the whole cluster or of one host; one that is not stays as it is.

    flag
        As :py:func:`held` names it: ``norebalance``, ``noout/osd01``
    owner
        Who holds it
    force
        Also when somebody else does

    Returns a sentence. Raises CommandExecutionError when somebody else holds it.

    CLI Example:

    .. code-block:: bash

        salt mon01.example.test ceph_flag.give norebalance
        salt mon01.example.test ceph_flag.give noout/osd01 force=True
    """
    leases = __salt__["ceph_cluster.leases"]()
    if flag not in leases:
        return f"{flag} is not held."
    if not force:
        _mine(leases, flag, owner)
    name, _, where = flag.partition("/")
    if where:
        _command("osd unset-group", flags=name, who=[where])
    else:
        _command("osd unset", key=name)
    # last: after a crash before this it is given back once more
    _command("config-key rm", key=f"{_NOTE}{flag}")
    return f"{flag} is given back."


def _mine(leases, flag, owner):
    found = leases.get(flag)
    if found and found.get("owner") != owner:
        raise CommandExecutionError(
            f"{flag} is held by {found.get('owner')} since {found.get('since')}."
        )
    return found
