"""The solver against rules written down a second time, and against a search without any wit."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from itertools import pairwise

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from saltern.release.lifecycle import Catalogue, build, load
from saltern.release.observe import Request, follows, known, request
from saltern.release.problem import numbered, search
from saltern.release.refusal import core
from saltern.release.solve import broken, solve, states
from tests.unit.release.catalogues import lifecycle, requests, rule

SHIPPED = load()
#: a whole cloud from the distribution
CLOUD = known(
    SHIPPED,
    "distribution=bookworm,python=3.11,openstack=2024.1,rabbitmq=3.10,erlang=25,mariadb=10.11,"
    "ovn=23.03,libvirt=9.0,qemu=7.2,ceph=pacific,salt=3008,etcd=3.4,containerd=1.6,kubernetes=1.30",
    "now",
)


def may_follow(catalogue: Catalogue, asked: Request, name: str, old: str, new: str) -> bool:
    """Whether a product may go from one version to another in one hop, by the data alone."""
    product = catalogue.products[name]
    if old == new or new in product.versions[old].successors:
        return True
    order = list(product.versions)
    exceptional = name in asked.allow and product.exception is not None
    return exceptional and order.index(new) > order.index(old)


def fits(catalogue: Catalogue, versions: Mapping[str, str]) -> bool:
    """Whether versions keep every rule."""
    for one in catalogue.rules:
        if one.product in versions and one.needs in versions:
            wanted = one.allowed.get(versions[one.product])
            if wanted is not None and versions[one.needs] not in wanted:
                return False
    return True


def neighbours(
    catalogue: Catalogue, asked: Request, state: Mapping[str, str]
) -> Iterator[dict[str, str]]:
    """Every state that one hop leads to."""
    riding = follows(catalogue, asked)
    for name, version in state.items():
        if name in riding:
            continue
        for after in catalogue.products[name].versions:
            moved = {name: after}
            if name == catalogue.provider:
                provides = catalogue.products[name].versions[after].provides
                moved |= {one: provides.get(one, "") for one in riding}
            if after != version and all(
                new and may_follow(catalogue, asked, one, state[one], new)
                for one, new in moved.items()
            ):
                found = {**state, **moved}
                if fits(catalogue, found):
                    yield found


def shortest(catalogue: Catalogue, asked: Request) -> int | None:
    """The number of hops of a shortest path, by looking everywhere."""
    begin = dict(asked.now)
    if not fits(catalogue, begin):
        return None
    todo, seen = deque([(begin, 0)]), {tuple(begin.items())}
    while todo:
        state, hops = todo.popleft()
        if all(state[name] == version for name, version in asked.goal.items()):
            return hops
        for after in neighbours(catalogue, asked, state):
            key = tuple(after.items())
            if key not in seen:
                seen.add(key)
                todo.append((after, hops + 1))
    return None


def check(catalogue: Catalogue, asked: Request) -> int | None:
    """Every prefix of the answer's path keeps every rule; return how many hops there are."""
    answer = solve(catalogue, asked)
    assert answer == solve(catalogue, asked)
    if not answer.ok:
        assert answer.refusal
        assert answer.refusal.reasons
        assert not answer.hops
        return None
    path = list(states(asked, answer.hops))
    assert path[0] == asked.now
    assert all(path[-1][name] == version for name, version in asked.goal.items())
    riding = follows(catalogue, asked)
    for state in path:
        assert fits(catalogue, state)
        assert not broken(catalogue, state)
        if riding:
            provides = catalogue.products[catalogue.provider].versions[state[catalogue.provider]]
            assert {name: state[name] for name in riding} == {
                name: provides.provides[name] for name in riding
            }
    for before, after in pairwise(path):
        moved = {name for name in before if before[name] != after[name]}
        assert len(moved - riding) == 1
        for name in moved:
            assert may_follow(catalogue, asked, name, before[name], after[name])
    for hop in answer.hops:
        assert bool(hop.why) != (hop.change.product in asked.goal)
    return len(answer.hops)


@given(requests())
@settings(max_examples=400, deadline=None)
def test_a_path_keeps_every_rule_and_is_a_shortest_one(made: tuple[Catalogue, Request]) -> None:
    assert check(*made) == shortest(*made)


@given(requests())
@settings(max_examples=150, deadline=None)
def test_of_a_reason_nothing_can_be_left_out(made: tuple[Catalogue, Request]) -> None:
    catalogue, asked = made
    if search(numbered(catalogue, asked)) is not None:
        return
    facts = core(catalogue, asked)
    assert facts
    every = {("rule", one.name) for one in catalogue.rules}
    every |= {(kind, name) for kind in ("hops", "goal") for name in asked.now}
    # together they exclude each other, and without any one of them they do not
    assert search(numbered(catalogue, asked, every - set(facts))) is None
    for fact in facts:
        assert search(numbered(catalogue, asked, every - set(facts) | {fact})) is not None


@st.composite
def cloud_requests(draw: st.DrawFn) -> Request:
    """What might be asked of a cloud of the catalogue that is shipped."""
    present = draw(st.sets(st.sampled_from(sorted(CLOUD)), min_size=6)) | {"distribution", "python"}
    now = {name: version for name, version in CLOUD.items() if name in present}
    if "openstack" in present:
        now["openstack"] = draw(st.sampled_from(["2022.2", "2023.1", "2023.2", "2024.1", "2025.1"]))
    goal = {}
    for name in draw(st.lists(st.sampled_from(sorted(now)), unique=True, min_size=1, max_size=3)):
        versions = SHIPPED.products[name].versions
        goal[name] = draw(st.sampled_from(list(versions)))
    own = draw(st.sets(st.sampled_from(sorted(set(now) - {"distribution", "python"})), max_size=5))
    allow = draw(st.sets(st.sampled_from(["rabbitmq", "mariadb", "ovn"])))
    return request(SHIPPED, {}, goal, now, own, allow)


@given(cloud_requests())
# a failing request is small enough as it is
@settings(max_examples=60, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
def test_every_prefix_of_every_path_of_the_shipped_catalogue(asked: Request) -> None:
    check(SHIPPED, asked)


def test_a_whole_cloud_takes_less_than_a_second() -> None:
    """Measured in time of this process: the machine may be busy."""
    goal = "openstack=2026.2,distribution=trixie,ceph=squid,kubernetes=1.37,rabbitmq=4.3"
    asked = request(
        SHIPPED, {}, goal, CLOUD,
        own="ceph,rabbitmq,containerd,etcd", allow="mariadb,ovn",
    )  # fmt: skip
    begin = time.process_time()
    hops = check(SHIPPED, asked)
    assert time.process_time() - begin < 2  # solved twice, and checked
    assert hops is not None
    assert hops > 20


def test_what_stands_in_the_way_moves_although_nobody_asked() -> None:
    """b must be at v2 for a to be at v2, and at v3 for a to be at v3; c is nobody's matter."""
    rows = {"v2": ["v2"], "v3": ["v2", "v3"]}
    catalogue = build(
        {
            "a": lifecycle(3, title="A", rules=[rule("pair", "a", "b", rows)], after=["b"]),
            "b": lifecycle(3, title="B"),
            "c": lifecycle(3, title="C"),
        }
    )
    answer = solve(catalogue, Request({"a": "v1", "b": "v1", "c": "v1"}, {"a": "v3"}))
    assert [(hop.change.product, hop.change.after, hop.why) for hop in answer.hops] == [
        ("b", "v2", "A v2 needs B v2"),
        ("a", "v2", ""),
        ("a", "v3", ""),
    ]


def test_two_that_wait_for_each_other_are_refused() -> None:
    """No first step: a waits for b, and b for a."""
    catalogue = build(
        {
            "a": lifecycle(2, title="A", rules=[
                rule("first", "a", "b", {"v2": ["v2"]}),
                rule("second", "b", "a", {"v2": ["v2"]}),
            ]),
            "b": lifecycle(2, title="B"),
        }
    )  # fmt: skip
    answer = solve(catalogue, Request({"a": "v1", "b": "v1"}, {"a": "v2", "b": "v2"}))
    assert answer.refusal
    assert {reason.name for reason in answer.refusal.reasons} == {"first", "second"}
    assert str(answer.refusal) == "A v2 needs B v2 (so); B v2 needs A v2 (so)"


def test_a_rule_that_is_broken_already_is_the_reason() -> None:
    catalogue = build(
        {
            "a": lifecycle(3, title="A", rules=[rule("pair", "a", "b", {"v1": ["v2"]})]),
            "b": lifecycle(2, title="B"),
        }
    )
    answer = solve(catalogue, Request({"a": "v1", "b": "v1"}, {"a": "v3"}))
    assert str(answer.refusal) == "A v1 needs B v2, and the cluster has v1 (so)"


def test_nothing_to_do_is_a_path() -> None:
    catalogue = build({"a": lifecycle(2)})
    answer = solve(catalogue, Request({"a": "v2"}, {"a": "v2"}))
    assert (answer.ok, answer.hops) == (True, ())
