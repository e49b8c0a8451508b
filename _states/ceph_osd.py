"""One object store on one device: made once, taken up again, kept running."""

from __future__ import annotations

from salt.exceptions import CommandExecutionError

#: Pools that the managers make for themselves as soon as there is an object store.
MANAGERS = (".mgr", "device_health_metrics")


def present(
    name,
    kind=None,
    size=None,
    device_class=None,
    db=None,
    db_size=None,
    wal=None,
    wal_size=None,
    weight=None,
    encrypted=False,
):
    """Keep an object store on a device, in the cluster and up.

    A device that holds anything else is refused. A store of this cluster that is on it, for
    instance after its host was made anew, is taken up with its data.

    name
        device by a name that stays, or file
    kind
        ``block``, ``loop`` or ``file``; default: ``file`` with a size, ``block`` without one
    size
        of a file, such as ``8G``
    device_class
        ``hdd``, ``ssd`` or ``nvme``, for a new store
    db
        device or file of BlueStore's database
    db_size
        makes that a file of this size
    wal
        device or file of BlueStore's log
    wal_size
        makes that a file of this size
    weight
        in the CRUSH map; default: its size in TiB. A new store in a cluster that has pools weighs
        nothing, so that no data moves until somebody asks for it
    encrypted
        refused: there is no way yet to keep the keys
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": ""}
    if encrypted:
        ret.update(
            result=False,
            comment=f"{name} shall be encrypted, which this formula cannot do."
            " Take `encrypted` out of the model, or encrypt the device below it.",
        )
        return ret
    kind = kind or ("file" if size else "block")
    try:
        store = __salt__["ceph_store.find"](name)
        wrong = "" if store and store["ready"] else _refusal(name, kind)
        up = store is not None and _up(store)
        wanted = _wanted(store["id"], weight) if up else None
    except CommandExecutionError as err:
        return __salt__["readback.unknown"](ret, name, err, __opts__["test"])
    if wrong:
        ret.update(result=False, comment=wrong)
        return ret
    if up and wanted is None:
        ret["comment"] = f"osd.{store['id']} on {name} is up{_waiting(store['id'])}."
        return ret
    if __opts__["test"]:
        verb = "weighted" if up else "started" if store and store["ready"] else "made"
        ret.update(result=None, changes={name: verb}, comment=f"{name}: would be {verb}.")
        return ret
    try:
        if store is None or not store["ready"]:
            parts = {
                "db": {"path": db, "size": db_size} if db else None,
                "wal": {"path": wal, "size": wal_size} if wal else None,
            }
            number = __salt__["ceph_store.make"](name, kind, size, device_class, **parts)
            ret["changes"][name] = f"osd.{number} made"
        else:
            number = store["id"]
        ret["comment"] = __salt__["ceph_store.start"](number)
        ret["changes"].setdefault(name, f"osd.{number} started")
        wanted = _wanted(number, weight)
        if wanted is None:
            ret["comment"] = f"osd.{number} on {name} is up{_waiting(number)}."
        else:
            more = {"name": f"osd.{number}", "weight": wanted}
            __salt__["ceph_cluster.command"]("osd crush reweight", arguments=more)
            ret["changes"]["weight"] = wanted
    except CommandExecutionError as err:
        ret.update(result=False, comment=f"{name}: {err}")
    return ret


def _refusal(name, kind):
    """Why the device must not be used; a store that is being made there is looked at later."""
    common = __pillar__.get("ceph", {}).get("common", {})
    found = __salt__["ceph_store.label"](name) if kind != "block" else None
    if found and not found.get("ready"):
        return ""
    return __salt__["ceph_store.may_use"](name, kind, common.get("fsid", ""))


def _up(store):
    """Whether the cluster and this host agree that a store runs; both must be asked."""
    if not store["ready"] or not __salt__["service.status"](store["unit"]):
        return False
    if not __salt__["service.enabled"](store["unit"]):
        return False
    dump = __salt__["ceph_cluster.command"]("osd dump")
    return any(item["osd"] == store["id"] and item["up"] for item in dump["osds"])


def _weight(number):
    tree = __salt__["ceph_cluster.osd_tree"]()
    return round(tree.get(f"osd.{number}", {}).get("weight", 0), 3)


def _wanted(number, weight):
    """What a store has to weigh, None when nothing has to change.

    One that weighs nothing was never filled. While nobody has a pool there are no data that could
    move, so it gets its weight at once; later ``ceph.osd.fill`` gives it.
    """
    now = _weight(number)
    if now == 0 and _pools():
        return None
    if weight is None:
        # bytes in TiB, as Ceph weighs by itself
        return round(__salt__["ceph_disk.size"](number) / 2**40, 5) if now == 0 else None
    return float(weight) if now != round(weight, 3) else None


def _waiting(number):
    return "" if _weight(number) else ", and waits for data (operation ceph.osd.fill)"


def _pools():
    """Whether anybody but the managers has a pool."""
    dump = __salt__["ceph_cluster.command"]("osd dump")
    return any(pool["pool_name"] not in MANAGERS for pool in dump["pools"])
