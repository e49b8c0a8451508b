"""Which bundle, which member, what expires: tables and properties."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from saltern.backup import choose, retention, sources
from saltern.backup.bundles import FULL, INCREMENTAL, LOGICAL, Bundle, Store, moment, shown
from saltern.errors import BackupRefusedError
from saltern.rollout.galera import Member
from tests.support import TREE

NOW = datetime(2026, 6, 15, 12, tzinfo=timezone.utc)
ROLE = "galera.server"


def bundle(number: int, kind: str = FULL, *, age: float = 0, base: int = -1, **more: Any) -> Bundle:
    """A bundle whose log sequence number ends at ten times its number."""
    host = more.pop("host", "inf03")
    found = Bundle(
        path=f"{ROLE}/{host}/{number}",
        cluster="demo",
        role=ROLE,
        kind=kind,
        host=host,
        id=str(number),
        finished=NOW - timedelta(hours=age),
        size=100,
        base=str(base) if base >= 0 else "",
        lsn=(base * 10 if base >= 0 else 0, number * 10) if kind != LOGICAL else None,
        databases=("keystone", "nova"),
    )
    return replace(found, **more)


CHAIN = (
    bundle(1, age=10),
    bundle(2, INCREMENTAL, age=9, base=1),
    bundle(3, INCREMENTAL, age=8, base=2),
    bundle(4, LOGICAL, age=7),
    bundle(5, age=6),
    bundle(6, INCREMENTAL, age=5, base=5),
)


# -- chains and points in time -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("last", "ids"), [(0, "1"), (1, "12"), (2, "123"), (3, "4"), (4, "5"), (5, "56")]
)
def test_a_chain_begins_with_the_full_one(last: int, ids: str) -> None:
    assert "".join(one.id for one in choose.chain(CHAIN, CHAIN[last])) == ids


def test_a_missing_link_is_refused() -> None:
    left = [one for one in CHAIN if one.id != "2"]
    with pytest.raises(BackupRefusedError, match="2 is missing, which it builds on"):
        choose.chain(left, CHAIN[2])


@pytest.mark.parametrize("change", [{"lsn": (15, 30)}, {"base": "4"}, {"base": "3"}])
def test_what_does_not_follow_is_refused(change: dict[str, Any]) -> None:
    odd = replace(CHAIN[2], **change)
    with pytest.raises(BackupRefusedError):
        choose.chain([*CHAIN[:2], odd, *CHAIN[3:]], odd)


@pytest.mark.parametrize(
    ("hours", "lineage", "ident"),
    [
        (None, FULL, "6"), (0, FULL, "6"), (5.5, FULL, "5"), (7, FULL, "3"), (8.5, FULL, "2"),
        (10, FULL, "1"), (None, LOGICAL, "4"), (7, LOGICAL, "4"),
    ],
)  # fmt: skip
def test_the_newest_bundle_up_to_a_point(hours: float | None, lineage: str, ident: str) -> None:
    point = None if hours is None else NOW - timedelta(hours=hours)
    assert choose.at(CHAIN, ROLE, lineage, point).id == ident


def test_a_broken_chain_gives_way_to_the_one_before() -> None:
    left = [one for one in CHAIN if one.id not in ("5", "2")]
    assert choose.at(left, ROLE, FULL).id == "1"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            {"point": NOW - timedelta(days=9)},
            "is as old as 2026-06-06T12:00:00Z; the oldest one is",
        ),
        ({"host": "inf01"}, "there is no logical bundle of galera.server of inf01"),
        ({"label": "before-2027.1"}, "of galera.server with the label before-2027.1"),
        ({"databases": ("glance",)}, "no logical bundle of galera.server has glance"),
    ],
)
def test_why_there_is_none(more: dict[str, Any], said: str) -> None:
    with pytest.raises(BackupRefusedError, match=said):
        choose.at(CHAIN, ROLE, LOGICAL, **more)


def test_what_was_taken_for_something_is_found_behind_newer_ones() -> None:
    """A nightly bundle after an upgrade is none to go back behind it."""
    marked = bundle(7, LOGICAL, age=4, label="before-2026.1")
    found = (*CHAIN, marked, bundle(8, LOGICAL, age=1))
    assert choose.at(found, ROLE, LOGICAL).id == "8"
    assert choose.at(found, ROLE, LOGICAL, label="before-2026.1") == marked


def test_a_chain_of_which_nothing_is_whole_is_said() -> None:
    with pytest.raises(BackupRefusedError, match="has all that it builds on"):
        choose.at([CHAIN[1]], ROLE, FULL)


def test_what_the_next_incremental_one_builds_on() -> None:
    assert choose.bases(CHAIN, ROLE, 24)["inf03"].id == "6"
    assert choose.bases(CHAIN[:3], ROLE, 3)["inf03"].id == "3"
    # so many are enough
    assert choose.bases(CHAIN[:3], ROLE, 2) == {}
    assert choose.bases(CHAIN, "pki.ca", 24) == {}


def test_a_full_disk_is_refused_before_anything_is_taken() -> None:
    source = sources.Source(ROLE, ("inf01",), "galera", {})
    large = [replace(CHAIN[0], size=8 << 30)]
    choose.room(large, [(source, FULL)], 12 << 30)
    with pytest.raises(BackupRefusedError, match=r"its disk has 10\.7 GB of free space, and about"):
        choose.room(large, [(source, FULL)], 10 << 30)


@pytest.mark.parametrize(
    "text", ["2026-06-15T12:00:00Z", "2026-06-15T12:00", "2026-06-15T14:00+02:00"]
)
def test_a_time_is_read_as_people_write_it(text: str) -> None:
    assert moment(text) == NOW
    assert shown(moment(text)) == "2026-06-15T12:00:00Z"


# -- members -------------------------------------------------------------------------------------

GALERA = sources.Source(ROLE, ("inf01", "inf02", "inf03"), "galera", {})


def facts(*serving: str) -> dict[str, Member | None]:
    return {
        node: Member(node, primary=True, state=4) if node in serving else None
        for node in GALERA.nodes
    }


@pytest.mark.parametrize(
    ("serving", "kind", "order"),
    [
        (("inf01", "inf02", "inf03"), LOGICAL, ("inf03", "inf02")),
        (("inf01", "inf02", "inf03"), FULL, ("inf03", "inf02", "inf01")),
        (("inf02", "inf03"), LOGICAL, ("inf03",)),
        (("inf01", "inf03"), LOGICAL, ("inf03",)),
        (("inf02",), FULL, ("inf02",)),
    ],
)
def test_clients_write_to_the_first_so_the_last_is_taken(
    serving: tuple[str, ...], kind: str, order: tuple[str, ...]
) -> None:
    candidates = choose.members(GALERA, facts(*serving))
    assert candidates.writer == serving[0]
    assert choose.takers(candidates, kind, {}) == order


def test_an_incremental_one_is_taken_where_there_is_something_to_build_on() -> None:
    candidates = choose.members(GALERA, facts("inf01", "inf02", "inf03"))
    based = {"inf02": CHAIN[0], "inf01": CHAIN[0]}
    assert choose.takers(candidates, INCREMENTAL, based) == ("inf02", "inf03", "inf01")


def test_the_last_member_is_not_held_unless_that_is_said() -> None:
    candidates = choose.members(GALERA, facts("inf02"))
    with pytest.raises(BackupRefusedError, match="only inf02 serves"):
        choose.takers(candidates, LOGICAL, {})
    assert choose.takers(candidates, LOGICAL, {}, interrupt=True) == ("inf02",)
    with pytest.raises(BackupRefusedError, match="no member of the cluster serves"):
        choose.members(GALERA, facts())


# -- what the model says -------------------------------------------------------------------------


def node(*roles: str, **lifecycle: Any) -> SimpleNamespace:
    return SimpleNamespace(applications=roles, lifecycle=lifecycle)


SPEC = {"what": "x", "from": "each", "kinds": {"full": {"call": "a.b", "verify": "a.c"}}}


def test_only_what_is_stateful_is_backed_up() -> None:
    found = sources.read({
        "a": node("r.one", "r.two", "r.three", "r.four", "backup.client", **{
            "r.one": {"stateful": True, "backup": SPEC},
            "r.two": {"stateful": False, "backup": SPEC},
            "r.three": {"stateful": True, "backup": "elsewhere"},
            "r.four": {"stateful": True},
        }),
        "b": node("r.one", "backup.server", **{"r.one": {"stateful": True, "backup": SPEC}}),
    })  # fmt: skip
    assert list(found.found) == ["r.one"]
    assert found.found["r.one"].nodes == ("a", "b")
    assert (found.told, found.silent) == ({"r.three": "elsewhere"}, ("r.four",))
    assert found.server() == "b"
    with pytest.raises(BackupRefusedError, match="b is to be backed up and is no client"):
        found.chosen([])
    with pytest.raises(BackupRefusedError, match="has no backup of its own: the model says"):
        found.chosen(["r.three"])


def test_without_a_server_there_is_a_sentence() -> None:
    with pytest.raises(BackupRefusedError, match=r"has 0 nodes with the role backup.server"):
        sources.read({"a": node()}).server()


def test_every_stateful_role_says_how_it_is_backed_up() -> None:
    silent = []
    for path in (TREE / "classes/service").rglob("*.yml"):
        for role, entry in (yaml.safe_load(path.read_text())["parameters"].get("lifecycle")
                            or {}).items():  # fmt: skip
            if entry.get("stateful") and not entry.get("backup"):
                silent.append(role)
    assert not silent


# -- retention -----------------------------------------------------------------------------------


@st.composite
def histories(draw: st.DrawFn) -> list[Bundle]:
    """Full, incremental and logical bundles of two hosts; some links may be lost."""
    found: list[Bundle] = []
    ages = draw(st.lists(st.integers(0, 24 * 120), min_size=1, max_size=40))
    for number, age in enumerate(sorted(ages, reverse=True), 1):
        host = draw(st.sampled_from(["inf02", "inf03"]))
        kind = draw(st.sampled_from([FULL, INCREMENTAL, INCREMENTAL, LOGICAL]))
        below = [one for one in found if one.host == host and one.lineage == FULL]
        if kind == INCREMENTAL and not below:
            kind = FULL
        base = int(below[-1].id) if kind == INCREMENTAL else -1
        found.append(bundle(number, kind, age=age, base=base, host=host))
    lost = draw(st.sets(st.sampled_from(found), max_size=2))
    return [one for one in found if one not in lost]


POLICIES = st.builds(
    retention.Policy, last=st.integers(1, 3), hours=st.integers(0, 48), daily=st.integers(0, 7),
    weekly=st.integers(0, 4), monthly=st.integers(0, 3),
)  # fmt: skip


def store(bundles: list[Bundle], **more: Any) -> Store:
    return replace(Store("cfg01", tuple(bundles), {}, {}, 1, 2, NOW), **more)


@given(histories(), POLICIES, st.booleans())
def test_what_stays_can_be_restored_and_nothing_young_goes(
    bundles: list[Bundle], policy: retention.Policy, by_host: bool
) -> None:
    roles = frozenset({ROLE} if by_host else ())
    gone = retention.expired(store(bundles), policy, roles)
    left = [one for one in bundles if one.path not in gone]
    assert len(gone) == len(set(gone))
    for one in bundles:
        young = NOW - one.finished < timedelta(hours=policy.hours)
        if young:
            assert one in left
            # a young one that could be restored still can be
            assert choose.whole(bundles, one) == choose.whole(left, one)
    for lineage in (FULL, LOGICAL):
        usable = [one for one in bundles if one.lineage == lineage and choose.whole(bundles, one)]
        if usable:
            newest = max(usable, key=lambda one: (one.finished, one.path))
            assert choose.whole(left, newest)
            assert newest in left
    # half done, in the order of the list, no chain is without its beginning
    for done in range(len(gone) + 1):
        rest = [one for one in bundles if one.path not in gone[:done]]
        for one in rest:
            if one in left:
                assert choose.whole(rest, one) == choose.whole(bundles, one)
    # what was done once is not done again
    assert retention.expired(store(left), policy, roles) == []


@given(histories(), POLICIES)
def test_a_larger_policy_keeps_no_less(bundles: list[Bundle], policy: retention.Policy) -> None:
    more = replace(policy, daily=policy.daily + 1, weekly=policy.weekly + 1, last=policy.last + 1)
    small = set(retention.expired(store(bundles), policy, frozenset()))
    assert set(retention.expired(store(bundles), more, frozenset())) <= small


def test_one_a_day_one_a_week() -> None:
    days = [bundle(100 - age, LOGICAL, age=24 * age) for age in range(40)]
    policy = retention.Policy(last=1, hours=0, daily=3, weekly=3)
    gone = retention.expired(store(days), policy, frozenset())
    left = sorted(int(one.id) for one in days if one.path not in gone)
    # today, the two days before, and the Sundays before: the fifteenth of June is a Monday
    assert left == [100 - 8, 100 - 2, 100 - 1, 100]


def test_what_was_given_up_goes_after_a_day_and_what_is_damaged_stays() -> None:
    found = store(
        [bundle(1)], unfinished={"r/a/new": 600, "r/a/old": 90000}, damaged={"r/a/x": "y"}
    )
    assert retention.expired(found, retention.Policy(), frozenset()) == ["r/a/old"]
