"""
Where the data of a Ceph cluster are: stores, failure domains, pools, placement groups
======================================================================================

Facts only, for whoever decides: what a loss would mean (``salt-run ceph.whatif``), whether there is
room for what one host holds. Called on a host of a monitor.
"""

import datetime
import time

from salt.exceptions import CommandExecutionError

__virtualname__ = "ceph_map"

# States of placement groups that serve nothing, whose cause is worth asking for.
_STUCK = ("down", "incomplete", "peering", "stale")
_NAMED = 5
# Seconds after which the manager has counted what a change of the map did.
COUNTED = 10
# Seconds in which a manager hears of all placement groups, and between two looks.
HEARD, LOOK = 30, 2


def __virtual__():
    return __virtualname__


def _ask(prefix, target="mon", **arguments):
    return __salt__["ceph_cluster.command"](prefix, target=target, arguments=arguments)


def facts(groups=True):
    """
    Return what a decision about the loss of something is made from.

    groups
        Also each placement group with its object stores

    Returns ``{"stores": {"osd.0": {"id", "up", "in", "weight", "location": {type: name}, "bytes",
    "used"}}, "pools": {name: {"size", "min_size", "domain", "root", "class"}}, "groups": [[pool,
    [numbers of object stores that serve it]]], "monitors": [names], "quorum": [names], "ratios":
    {"nearfull", "backfillfull", "full"}}``. Raises CommandExecutionError when the manager does not
    hear of a placement group: nobody knows then what a loss would mean for it.

    CLI Example:

    .. code-block:: bash

        salt mon01.example.test ceph_map.facts groups=False
    """
    dump, quorum = _ask("osd dump"), _ask("quorum_status")
    sizes = {item["id"]: item for item in _ask("osd df", target="mgr")["nodes"]}
    stores = __salt__["ceph_cluster.osd_tree"]()
    for store in stores.values():
        size = sizes.get(store["id"], {})
        store.update(bytes=size.get("kb", 0) * 1024, used=size.get("kb_used", 0) * 1024)
    rules = {rule["rule_id"]: rule for rule in _ask("osd crush rule dump")}
    names, pools = {}, {}
    for pool in dump["pools"]:
        names[pool["pool"]] = pool["pool_name"]
        pools[pool["pool_name"]] = {
            "size": pool["size"],
            "min_size": pool["min_size"],
            **_rule(rules[pool["crush_rule"]]),
        }
    found = {
        "stores": stores,
        "pools": pools,
        "monitors": sorted(item["name"] for item in quorum["monmap"]["mons"]),
        "quorum": sorted(quorum["quorum_names"]),
        "ratios": {name: dump[f"{name}_ratio"] for name in ("nearfull", "backfillfull", "full")},
        "groups": [],
    }
    if groups:
        found["groups"] = [
            [names[int(item["pgid"].partition(".")[0])], placed(item["acting"])]
            for item in _heard()
            if int(item["pgid"].partition(".")[0]) in names
        ]
    return found


def _heard():
    """Placement groups, once the manager has heard of each; before, it shows no store of it."""
    end = time.monotonic() + HEARD
    while True:
        found = placements()
        unknown = sum("unknown" in item["state"] for item in found)
        if not unknown:
            return found
        if time.monotonic() > end:
            raise CommandExecutionError(
                f"The manager has not heard of {unknown} of {len(found)} placement groups for"
                f" {HEARD} s: their object stores are away, or it has just begun."
            )
        time.sleep(LOOK)


def placements():
    """
    Return where each placement group is: ``[{"pgid", "state", "up": [numbers], "acting": […]}]``.

    CLI Example:

    .. code-block:: bash

        salt mon01.example.test ceph_map.placements
    """
    found = _ask("pg dump", target="mgr", dumpcontents=["pgs_brief"])
    return found["pg_stats"] if isinstance(found, dict) else found


def placed(numbers):
    """
    Leave out of a placement group's object stores what stands for none.

    numbers
        As Ceph shows them

    CLI Example:

    .. code-block:: bash

        salt mon01.example.test ceph_map.placed '[1, 2147483647]'
    """
    return [number for number in numbers if 0 <= number < 2**31 - 1]


def _rule(rule):
    """Root, device class and failure domain of a rule."""
    steps = {step["op"].partition("_")[0]: step for step in rule["steps"]}
    root, _, kind = steps.get("take", {}).get("item_name", "").partition("~")
    leaf = steps.get("chooseleaf") or steps.get("choose") or {}
    return {"root": root, "class": kind, "domain": leaf.get("type", "osd")}


def blockers(states):
    """
    Name the object stores that placement groups wait for, so that they serve nothing.

    states
        Of the placement groups, as Ceph names them

    Returns a list of names, empty when nothing waits or the manager cannot be asked.

    CLI Example:

    .. code-block:: bash

        salt mon01.example.test ceph_map.blockers '[down+peering]'
    """
    stuck = sorted({*_STUCK} & {word for state in states for word in state.split("+")})
    if not stuck:
        return []
    try:
        found = _ask("pg ls", target="mgr", states=stuck)
    except CommandExecutionError:
        return []  # the manager is a help here, the monitors have said what matters
    listed = found.get("pg_stats", []) if isinstance(found, dict) else []
    names = {osd for item in listed for osd in item.get("blocked_by", ())}
    return [f"osd.{number}" for number in sorted(names)][:_NAMED]


def down(dump=None):
    """
    Tell which object stores are down and since when: the time of the map that said so first.

    dump
        What ``osd dump`` answered; asked when it is not given

    Returns ``{"osd.7": "2026-01-02T03:04:05"}``; the time is empty where that map is not kept.

    CLI Example:

    .. code-block:: bash

        salt mon01.example.test ceph_map.down
    """
    dump = dump or _ask("osd dump")
    found, times = {}, {}
    for item in dump["osds"]:
        if not item["up"]:
            epoch = item["down_at"]
            if epoch not in times:
                times[epoch] = _modified(epoch) if len(times) < _NAMED else ""
            found[f"osd.{item['osd']}"] = times[epoch][:19]
    return found


def uncounted(dump=None):
    """
    Name the object stores that went down so lately that statistics may be older.

    dump
        What ``osd dump`` answered; asked when it is not given

    CLI Example:

    .. code-block:: bash

        salt mon01.example.test ceph_map.uncounted
    """
    dump = dump or _ask("osd dump")
    latest = max((item["down_at"] for item in dump["osds"]), default=0)
    if not latest or not _lately(dump["modified"]) or not _lately(_modified(latest)):
        return []
    return [f"osd.{item['osd']}" for item in dump["osds"] if item["down_at"] == latest]


def _modified(epoch):
    """When a map was made, empty when it is not kept any more."""
    try:
        return _ask("osd dump", epoch=epoch)["modified"] if epoch else ""
    except CommandExecutionError:
        return ""


def _lately(stamp):
    """Whether a time is so short ago that the manager may not have counted since."""
    try:
        then = datetime.datetime.strptime(stamp, "%Y-%m-%dT%H:%M:%S.%f%z")
    except ValueError:
        return False
    now = datetime.datetime.now(datetime.timezone.utc)
    return abs((now - then).total_seconds()) < COUNTED


def room_without(ids):
    """
    Tell why the data of some object stores have no place elsewhere.

    ids
        Numbers of the object stores

    Returns a sentence, empty when there is room.

    CLI Example:

    .. code-block:: bash

        salt mon01.example.test ceph_map.room_without '[4, 5]'
    """
    found = facts(groups=False)
    gone = {int(number) for number in ids}
    left = [
        store
        for store in found["stores"].values()
        if store["id"] not in gone and store["in"] and store["up"] and store["weight"] > 0
    ]
    for name, pool in sorted(found["pools"].items()):
        usable = [store for store in left if not pool["class"] or store["class"] == pool["class"]]
        places = {
            store["id"] if pool["domain"] == "osd" else store["location"].get(pool["domain"])
            for store in usable
            if store["location"].get("root") == pool["root"]
        }
        if len(places) < pool["size"]:
            return (
                f"Pool {name} keeps {pool['size']} copies in as many of {pool['domain']}, and"
                f" {len(places)} would be left: add another one first."
            )
    everything = sum(store["bytes"] for store in left)
    used = sum(store["used"] for store in left)
    used += sum(store["used"] for store in found["stores"].values() if store["id"] in gone)
    limit = found["ratios"]["nearfull"]
    if not everything or used / everything > limit:
        share = f"{used / everything:.0%}" if everything else "all"
        return f"The others would be {share} full, more than {limit:.0%}: add room first."
    return ""


def df():
    """
    Tell how full the cluster is.

    Returns ``{"bytes": {"all", "used", "free"}, "ratio": 0..1, "limits": {"nearfull",
    "backfillfull", "full"}, "pools": {name: {"used", "free", "objects"}}}``.

    CLI Example:

    .. code-block:: bash

        salt mon01.example.test ceph_map.df
    """
    found, dump = _ask("df"), _ask("osd dump")
    stats = found["stats"]
    everything, used = stats["total_bytes"], stats["total_used_raw_bytes"]
    return {
        "bytes": {"all": everything, "used": used, "free": stats["total_avail_bytes"]},
        "ratio": round(used / everything, 4) if everything else 0.0,
        "limits": {name: dump[f"{name}_ratio"] for name in ("nearfull", "backfillfull", "full")},
        "pools": {
            pool["name"]: {
                "used": pool["stats"]["bytes_used"],
                "free": pool["stats"]["max_avail"],
                "objects": pool["stats"]["objects"],
            }
            for pool in found["pools"]
        },
    }
