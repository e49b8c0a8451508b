"""
Placement groups that are mapped elsewhere than CRUSH says
==========================================================

Such mappings (``pg-upmap-items``) hold data where they are while the map of stores changes, and let
them go a few at a time: see ``ceph_data.fill``. Called on a host of a monitor.
"""

__virtualname__ = "ceph_upmap"


def __virtual__():
    return __virtualname__


def moving():
    """
    Tell which placement groups are to move, and the mapping that holds each where it is.

    Returns ``{placement group: {"now": pairs, "hold": pairs}}``; a pair of numbers sends what is to
    be on the first object store to the second.

    CLI Example:

    .. code-block:: bash

        salt mon01.example.test ceph_upmap.moving
    """
    dump = __salt__["ceph_cluster.command"]("osd dump")
    mapped = {
        item["pgid"]: [[pair["from"], pair["to"]] for pair in item["mappings"]]
        for item in dump.get("pg_upmap_items", [])
    }
    found = {}
    for item in __salt__["ceph_map.placements"]():
        pairs = _back(item["up"], item["acting"])
        if pairs:
            now = mapped.get(item["pgid"], [])
            found[item["pgid"]] = {"now": now, "hold": _joined(now, pairs)}
    return found


def put(group, pairs):
    """
    Give a placement group these mappings and no other.

    group
        Such as ``3.1f``
    pairs
        As :py:func:`moving` has them; none: it goes where CRUSH says

    CLI Example:

    .. code-block:: bash

        salt mon01.example.test ceph_upmap.put 3.1f '[[4, 7]]'
    """
    verb, arguments = "osd rm-pg-upmap-items", {"pgid": group}
    if pairs:
        verb = "osd pg-upmap-items"
        arguments["id"] = [number for pair in pairs for number in pair]
    __salt__["ceph_cluster.command"](verb, arguments=arguments)


def _back(up, acting):
    """Pairs that send a placement group from where it should be to where it is."""
    gone = [number for number in up if number not in acting]
    here = __salt__["ceph_map.placed"]([number for number in acting if number not in up])
    return [list(pair) for pair in zip(gone, here, strict=False)]


def _joined(before, pairs):
    """Pairs after pairs: what was sent to where it must not be is sent on."""
    then = dict(map(tuple, pairs))
    found = [[source, then.pop(target, target)] for source, target in before]
    found += [list(pair) for pair in then.items()]
    return [pair for pair in found if pair[0] != pair[1]]
