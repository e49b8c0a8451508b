"""What would stay available of a Ceph cluster without some of its hosts, racks or stores.

Exact where it can be: each placement group is looked at with the stores that serve it now. Nothing
is asked or changed here; ``ceph_map.facts`` says what there is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from saltern.errors import GateError, PreflightError


@dataclass(frozen=True)
class Loss:
    """What a loss would mean.

    :param lost: names of the object stores and monitors that would be gone, sorted
    :param pools: pool to the numbers of its placement groups: ``all``, ``degraded`` (they serve),
        ``inactive`` (too few copies to write), ``gone`` (no copy is left)
    :param quorum: monitors that would be left in the quorum, and how many there are
    :param heals: whether the copies fit elsewhere, so that the cluster becomes whole by itself
    :param why: sentences, the worst first
    """

    lost: tuple[str, ...]
    pools: Mapping[str, Mapping[str, int]]
    quorum: tuple[int, int]
    heals: bool
    why: tuple[str, ...]

    @property
    def available(self) -> bool:
        """Whether everything can still be read and written."""
        good = all(not one["inactive"] and not one["gone"] for one in self.pools.values())
        return good and self.quorate

    @property
    def quorate(self) -> bool:
        """Whether a majority of the monitors would be left."""
        left, everyone = self.quorum
        return left > everyone // 2


def read(lose: str | Sequence[str]) -> list[tuple[str, str]]:
    """Read what is to be lost: ``osd01``, ``rack=r1``, ``osd.3``, several with commas.

    :returns: pairs of the kind of bucket (``host`` without one) and its name
    :raises PreflightError: nothing is named
    """
    words = lose.split(",") if isinstance(lose, str) else [str(one) for one in lose]
    found = []
    for word in filter(None, (word.strip() for word in words)):
        kind, sign, name = word.partition("=")
        found.append((kind, name) if sign else ("osd" if word.startswith("osd.") else "host", word))
    if not found or not all(name for _, name in found):
        raise PreflightError(
            "nothing is named", cure="Give lose=HOST, lose=rack=NAME or lose=osd.N"
        )
    return found


def whatif(facts: Mapping[str, Any], lose: str | Sequence[str]) -> Loss:
    """Say what would stay available.

    :param facts: see ``ceph_map.facts``
    :param lose: see :func:`read`
    :raises PreflightError: there is nothing of that name
    :raises GateError: the facts are something else
    """
    try:
        return _whatif(facts, read(lose))
    except (KeyError, TypeError, ValueError, AttributeError) as err:
        raise GateError(
            f"ceph_map.facts returned something else than facts ({err!r})",
            cure="Run saltutil.sync_modules on the monitors",
        ) from err


def _whatif(facts: Mapping[str, Any], lose: Sequence[tuple[str, str]]) -> Loss:
    stores: Mapping[str, Mapping[str, Any]] = facts["stores"]
    gone: dict[str, Mapping[str, Any]] = {}
    monitors: set[str] = set()
    for kind, name in lose:
        mine = {
            key: store
            for key, store in stores.items()
            if name == (key if kind == "osd" else store["location"].get(kind))
        }
        talks = {name} & {*facts["monitors"]} if kind == "host" else set()
        if not mine and not talks:
            raise PreflightError(f"there is no {kind} {name} in the cluster", where="lose")
        gone |= mine
        monitors |= talks
    numbers = {store["id"] for store in gone.values()}
    pools = _pools(facts, numbers)
    left = len({*facts["quorum"]} - monitors)
    quorum = left, len(facts["monitors"])
    room = _room(facts, numbers)
    told = [*_lost(pools), *_monitors(quorum, monitors), *room]
    down = sorted(key for key, s in stores.items() if not s["up"] and key not in gone)
    if down:
        told.append(f"{', '.join(down)} is down already.")
    lost = tuple(sorted({*gone, *(f"mon.{name}" for name in monitors)}))
    return Loss(lost, pools, quorum, not room, tuple(told))


def _pools(facts: Mapping[str, Any], gone: set[int]) -> dict[str, dict[str, int]]:
    found: dict[str, Counter[str]] = {name: Counter() for name in facts["pools"]}
    for pool, serving in facts["groups"]:
        left, least = len({*serving} - gone), facts["pools"][pool]["min_size"]
        count = found[pool]
        count["all"] += 1
        if not left:
            count["gone"] += 1
        elif left < least:
            count["inactive"] += 1
        elif left < facts["pools"][pool]["size"]:
            count["degraded"] += 1
    kinds = ("all", "degraded", "inactive", "gone")
    return {name: {kind: count[kind] for kind in kinds} for name, count in sorted(found.items())}


def _lost(pools: Mapping[str, Mapping[str, int]]) -> list[str]:
    told = []
    for kind, text in (
        ("gone", "have no copy left: their data would be lost"),
        ("inactive", "have too few copies: their data could not be used meanwhile"),
    ):
        some = [
            f"{one[kind]} of {one['all']} of {name}" for name, one in pools.items() if one[kind]
        ]
        if some:
            told.append(f"Placement groups {text} ({', '.join(some)}).")
    return told


def _monitors(quorum: tuple[int, int], gone: set[str]) -> list[str]:
    left, everyone = quorum
    if not gone:
        return []
    told = f"{left} of {everyone} monitors would be in the quorum"
    return [f"{told}." if left > everyone // 2 else f"{told}: no majority, everything would stop."]


def _room(facts: Mapping[str, Any], gone: set[int]) -> list[str]:
    """Why the copies would not come to be elsewhere."""
    left = [
        store
        for store in facts["stores"].values()
        if store["id"] not in gone and store["up"] and store["in"] and store["weight"] > 0
    ]
    told = []
    for name, pool in sorted(facts["pools"].items()):
        places = {
            store["id"] if pool["domain"] == "osd" else store["location"].get(pool["domain"])
            for store in left
            if store["location"].get("root") == pool["root"]
            and (not pool["class"] or store["class"] == pool["class"])
        }
        if len(places) < pool["size"]:
            told.append(
                f"Pool {name} wants {pool['size']} of {pool['domain']} and {len(places)} would be"
                " left: copies stay fewer until one is back."
            )
    everything = sum(store["bytes"] for store in left)
    used = sum(store["used"] for store in left)
    used += sum(store["used"] for store in facts["stores"].values() if store["id"] in gone)
    limit = facts["ratios"]["nearfull"]
    if not everything or used > limit * everything:
        share = f"{used / everything:.0%}" if everything else "wholly"
        told.append(f"What is left would be {share} full, more than {limit:.0%}.")
    return told


def answer(loss: Loss) -> dict[str, Any]:
    """Shape it as a runner's return; nothing is wrong with asking, so it never fails."""
    first = (
        "Everything stays available" if loss.available else "Not everything stays available"
    ) + (", and the cluster heals by itself." if loss.heals else ", with fewer copies meanwhile.")
    return {
        "result": True,
        "comment": " ".join([f"Without {', '.join(loss.lost)}:", first, *loss.why]),
        "available": loss.available,
        "heals": loss.heals,
        "quorum": {"left": loss.quorum[0], "all": loss.quorum[1]},
        "pools": {name: dict(one) for name, one in loss.pools.items()},
        "lost": list(loss.lost),
    }
