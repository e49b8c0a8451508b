"""
Move the data of a Ceph cluster away from object stores, and to new ones
========================================================================

What takes a store or a host out of a cluster for good, and what lets data move to one that is new.
Nothing here is done before the cluster said that no copy is lost by it. Each function may run
twice: what is done already is left as it is. Called on a host of a monitor.
"""

import json
import logging
import time
from functools import partial

from salt.exceptions import CommandExecutionError

log = logging.getLogger(__name__)

__virtualname__ = "ceph_data"

# What a store weighed before it was emptied, and which placement groups a fill still holds back.
_WEIGHT, _HELD = "saltern/weight/", "saltern/fill/"
# Seconds between two looks, until data must be elsewhere, until the manager has counted anew, and
# until the others go on without a store that stopped.
_LOOK, _LIMIT, _STATISTICS, _SETTLE = 2, 4 * 3600, 6, 300


def __virtual__():
    return __virtualname__


def _command(prefix, target="mon", **arguments):
    return __salt__["ceph_cluster.command"](prefix, target=target, arguments=arguments)


def _notes(prefix):
    found = _command("config-key dump", key=prefix) or {}
    return {key.removeprefix(prefix): json.loads(value) for key, value in found.items()}


def _note(key, value=None):
    if value is None:
        _command("config-key rm", key=key)
    else:
        _command("config-key set", key=key, val=json.dumps(value))


def _tell(sentence):
    log.info("ceph: %s", sentence)
    __salt__["event.send"]("saltern/ceph", {"message": sentence})


def _stores(host):
    """Object stores below a host: ``{number: what osd_tree says}``."""
    tree = __salt__["ceph_cluster.osd_tree"]()
    return {store["id"]: store for store in tree.values() if store["location"].get("host") == host}


def _store(number, host):
    """One object store, which must be the one of the host that somebody thinks it is."""
    tree = __salt__["ceph_cluster.osd_tree"]()
    found = tree.get(f"osd.{number}")
    if found is None:
        raise CommandExecutionError(f"osd.{number} is not in the cluster.")
    where = found["location"].get("host", "no host")
    if host and where != host:
        raise CommandExecutionError(f"osd.{number} is on {where}, not on {host}.")
    return found


def _wait(what, ask, limit):
    """Wait until an answer is ok; what is missing is told whenever it changes."""
    end, last = time.monotonic() + limit, ""
    while True:
        found = ask()
        if found["ok"]:
            return
        if time.monotonic() > end:
            raise CommandExecutionError(f"{what}: not done after {limit} s. {found['sentence']}")
        if found["sentence"] != last:
            last = found["sentence"]
            _tell(f"{what}: {last}")
        time.sleep(_LOOK)


def _safe(ids):
    """Whether stores may go for ever, with what is still there of their data."""
    found = __salt__["ceph_gate.safe_to_destroy"](ids)
    if not found["ok"]:
        now = __salt__["ceph_gate.pgs"]()
        found.update(states=now["states"], sentence=f"{found['sentence']} {now['sentence']}")
    return found


def evacuate(store, host="", accept=False, limit=_LIMIT):
    """
    Take an object store out and wait until its data are elsewhere in full number.

    store
        Its number
    host
        Name of its host; another one is refused
    accept
        Do not wait for one that is down, when the copies on others serve everything
    limit
        Seconds until its data must be elsewhere

    Returns a sentence. Raises CommandExecutionError when there is no room for its data, or when it
    is not done in time, with what is missing.

    CLI Example:

    .. code-block:: bash

        salt mon01.example.test ceph_data.evacuate 3 host=osd02
    """
    found = _store(store, host)
    if found["destroyed"] or _safe([store])["ok"]:
        return f"osd.{store} holds nothing that is not elsewhere."
    if accept and not found["up"]:
        return _without(store)
    _room([store])
    if found["in"]:
        _command("osd out", ids=[str(store)])
    _wait(f"osd.{store} is being emptied", lambda: _safe([store]), float(limit))
    return f"osd.{store} is out, and holds nothing that is not elsewhere."


def _without(store):
    """Accept that copies are missing, when everything is served without the store."""
    now = __salt__["ceph_gate.pgs"]()
    idle = [state for state in now["states"] if "active" not in state.split("+")]
    if idle or not now["all"]:
        raise CommandExecutionError(
            f"osd.{store} cannot be given up: {now['sentence']} What it holds may be nowhere else."
        )
    return f"osd.{store} is down, and others serve all of its data: {now['sentence']}"


def _room(ids):
    wrong = __salt__["ceph_map.room_without"](ids)
    if wrong:
        raise CommandExecutionError(wrong)


def take_in(store):
    """
    Let an object store have data again.

    store
        Its number

    Returns a sentence.

    CLI Example:

    .. code-block:: bash

        salt mon01.example.test ceph_data.take_in 3
    """
    if not _store(store, "")["in"]:
        _command("osd in", ids=[str(store)])
    return f"osd.{store} is in."


def destroy(store, host="", accept=False, limit=_SETTLE):
    """
    Give up an object store and keep its number and its place for a new one.

    store
        Its number; it must be down
    host
        Name of its host; another one is refused
    accept
        Also when copies are missing, while others serve everything
    limit
        Seconds until the others have found that they serve without it

    Returns a sentence. Raises CommandExecutionError when it is up, or when it may hold what is
    nowhere else.

    CLI Example:

    .. code-block:: bash

        salt mon01.example.test ceph_data.destroy 3 host=osd02
    """
    found = _store(store, host)
    if found["destroyed"]:
        return f"osd.{store} is given up."
    _down([store], {store: found})
    more = {}
    if not accept:
        _wait(f"osd.{store} is given up", lambda: _spared(store, found), float(limit))
    elif not _safe([store])["ok"]:
        _without(store)
        more = {"force": True}
    # without `force` the manager looks once more itself; being sure counts as force for it
    _command("osd destroy", target="mgr", id=int(store), **more)
    if not _store(store, host)["destroyed"]:
        raise CommandExecutionError(f"osd.{store} was given up, and reads back as there.")
    return f"osd.{store} is given up; its number waits for a new one."


def _spared(store, known):
    """As :func:`_safe`; while a store is in, the copies that it lacks come to no other place."""
    found = _safe([store])
    waits = any("undersized" in state for state in found.get("states", ()))
    if waits and known["in"] and known["weight"]:
        raise CommandExecutionError(f"{found['sentence']} Have it emptied (ceph_data.evacuate).")
    return found


def _down(ids, known):
    up = [f"osd.{number}" for number in ids if known[number]["up"]]
    if up:
        raise CommandExecutionError(f"{', '.join(up)} still runs: stop it on its host first.")


def empty(host, limit=_LIMIT):
    """
    Move all data away from a host that leaves, by taking its weight from it.

    host
        Its name in the CRUSH map
    limit
        Seconds until its data must be elsewhere

    Returns a sentence. Raises CommandExecutionError when there is no room elsewhere, or when it is
    not done in time, with what is missing.

    CLI Example:

    .. code-block:: bash

        salt mon01.example.test ceph_data.empty osd04
    """
    stores = _stores(host)
    heavy = {number: store["weight"] for number, store in stores.items() if store["weight"] > 0}
    if heavy:
        _room([*stores])
    for number, weight in sorted(heavy.items()):
        _note(f"{_WEIGHT}osd.{number}", weight)
        _command("osd crush reweight", name=f"osd.{number}", weight=0.0)
    if stores:
        _wait(f"{host} is being emptied", lambda: _safe([*stores]), float(limit))
    return f"{host} holds nothing that is not elsewhere."


def take_back(host):
    """
    Give a host that was being emptied its weight back.

    host
        Its name in the CRUSH map

    Returns a sentence.

    CLI Example:

    .. code-block:: bash

        salt mon01.example.test ceph_data.take_back osd04
    """
    notes = _notes(_WEIGHT)
    for number in sorted(_stores(host)):
        if f"osd.{number}" in notes:
            weight = float(notes[f"osd.{number}"])
            _command("osd crush reweight", name=f"osd.{number}", weight=weight)
            _note(f"{_WEIGHT}osd.{number}")
    return f"{host} weighs what it did."


def purge(host, limit=_SETTLE):
    """
    Forget a host and its object stores, which must be down and empty.

    host
        Its name in the CRUSH map
    limit
        Seconds until the others go on without each of them

    Returns a sentence. Raises CommandExecutionError when one of them is up, or holds what is not
    elsewhere in time.

    CLI Example:

    .. code-block:: bash

        salt mon01.example.test ceph_data.purge osd04
    """
    stores = _stores(host)
    if stores:
        _down(stores, stores)
        # all of them before the first one goes
        _wait(f"{host} is left", partial(_safe, [*stores]), float(limit))
    notes = _notes(_WEIGHT)
    for number in sorted(stores):
        _wait(f"osd.{number} is left", partial(_safe, [number]), float(limit))
        _command("osd purge", target="mgr", id=int(number))
        if f"osd.{number}" in notes:
            _note(f"{_WEIGHT}osd.{number}")
    if any(item["name"] == host for item in _command("osd tree")["nodes"]):
        _command("osd crush rm", name=host)
    return f"{host} is not in the cluster any more."


def fill(host, pace=8, limit=_LIMIT, owner="saltern"):
    """
    Let data move to the new object stores of a host, some placement groups at a time.

    They get their weight while nothing may move (``norebalance``, held as a lease), and each
    placement group is mapped back to where it is. Then these mappings are taken away again, few by
    few. Ended anywhere it goes on where it was when it is called again.

    host
        Its name in the CRUSH map
    pace
        How many placement groups move at the same time
    limit
        Seconds until all of them must have moved
    owner
        Who holds ``norebalance`` meanwhile

    Returns a sentence. Raises CommandExecutionError when it is not done in time, with what is
    missing; what did not move by then stays where it is.

    CLI Example:

    .. code-block:: bash

        salt mon01.example.test ceph_data.fill osd04
    """
    end = time.monotonic() + float(limit)
    light = sorted(n for n, one in _stores(host).items() if one["up"] and one["weight"] == 0)
    if light:
        sizes = {item["id"]: item["kb"] for item in _command("osd df", target="mgr")["nodes"]}
        __salt__["ceph_flag.take"]("norebalance", owner)
        try:
            for number in light:
                weight = round(sizes[number] / 2**30, 5)
                _command("osd crush reweight", name=f"osd.{number}", weight=weight)
            _hold_back(host, end)
        finally:
            __salt__["ceph_flag.give"]("norebalance", owner)
    waiting = _notes(f"{_HELD}{host}/")
    everything = len(waiting)
    while waiting:
        some = dict(sorted(waiting.items())[: int(pace)])
        for group, before in some.items():
            __salt__["ceph_upmap.put"](group, before)
        time.sleep(_STATISTICS)
        left = max(1.0, end - time.monotonic())
        _wait(f"{host} is being filled", __salt__["ceph_gate.pgs"], left)
        for group in some:
            _note(f"{_HELD}{host}/{group}")
            del waiting[group]
        _tell(f"{host} is being filled: {everything - len(waiting)} of {everything} moved.")
    weights = {f"osd.{number}": round(one["weight"], 5) for number, one in _stores(host).items()}
    return f"{host} has its share of the data: {json.dumps(weights)}."


def _hold_back(host, end):
    """Map placement groups back to where their data are, until none would move."""
    calm = 0
    while calm < 2:
        time.sleep(_STATISTICS)
        moving = __salt__["ceph_upmap.moving"]()
        known = _notes(f"{_HELD}{host}/")
        for group, pairs in moving.items():
            if group not in known:
                _note(f"{_HELD}{host}/{group}", pairs["now"])
            __salt__["ceph_upmap.put"](group, pairs["hold"])
        calm = 0 if moving else calm + 1
        if moving and time.monotonic() > end:
            raise CommandExecutionError(f"{len(moving)} placement groups could not be held back.")
