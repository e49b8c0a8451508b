"""Whatever nodes do and wherever the engine dies, it ends as if it had not died."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from saltern.plan.types import Plan
from saltern.rollout.ports import ABORTED, DONE, FAILED
from tests.support.fakes import FAILS, GONE, LOSES, MUTE, SAYS_NO, Crash, scripted
from tests.unit.rollout import engine_plans as plans
from tests.unit.rollout.test_crash import Site

NODES = plans.COMPUTE
FUNCTIONS = (
    "health.check",
    "proxy.drain",
    "saltutil.refresh_pillar",
    "state.apply",
    "node.restart",
    "proxy.ready",
)
faults = st.tuples(
    st.sampled_from(FUNCTIONS),
    st.sampled_from([*NODES, *plans.PROXIES]),
    st.sampled_from([FAILS, SAYS_NO, MUTE, LOSES, GONE]),
)


def rolled(sizes: list[int], budget: int) -> Plan:
    """Waves of these sizes, with all that may go wrong in them."""
    left, waves = list(NODES), []
    for size in sizes:
        nodes, left = tuple(left[:size]), left[size:]
        if nodes:
            waves.append((nodes, plans.change(nodes, "nova", plans.once(nodes, "node.restart"))))
    return plans.plan(plans.stage("resources", *waves, budget=budget), plans.committed())


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    budget=st.integers(0, 3),
    script=st.lists(faults, max_size=3).map(lambda found: scripted(*found)),
    deaths=st.lists(st.integers(0, 150), min_size=1, max_size=3),
    abort=st.integers(0, 1),
)
def test_faults_budgets_and_deaths_in_any_mixture(
    sizes: list[int], budget: int, script: object, deaths: list[int], abort: int
) -> None:
    unharmed = Site(rolled(sizes, budget), script)  # type: ignore[arg-type]
    outcome = unharmed.run()
    assert outcome is not None
    assert outcome.state in (DONE, FAILED)
    held = {lease.node for lease in outcome.leases}
    assert {node.split(".")[0] for node in held} >= {server for server, _ in unharmed.world.out}
    failed = {
        node
        for made in unharmed.rows.attempts.values()
        for node, result in made[-1].results.items()
        if not result.ok
    }
    if outcome.state == DONE:
        assert len(failed) <= budget

    site = Site(unharmed.plan, script)  # type: ignore[arg-type]
    for at in deaths:
        site.run(Crash(at))
    again = site.run()
    assert again is not None
    assert site.end() == unharmed.end()
    ran, wanted = site.ran(), unharmed.ran()
    assert set(ran) == set(wanted)
    assert all(ran[key] == wanted[key] for key in wanted if key[0] == "node.restart")
    assert all(ran[key] == 1 for key in ran if key[0] == "node.restart")

    if abort:
        site = Site(unharmed.plan, script)  # type: ignore[arg-type]
        site.run(Crash(deaths[0]))
        if site.rows.states[site.rollout][0] != DONE:
            published = set(site.world.jobs)
            site.wish(abort=True)
            ended = site.run()
            assert ended is not None
            assert ended.state == ABORTED
            # nothing is begun any more but giving back
            later = {site.world.jobs[jid].call.fun for jid in set(site.world.jobs) - published}
            assert later <= {"proxy.ready"}
            kept = {lease.node.split(".")[0] for lease in ended.leases}
            assert kept >= {server for server, _ in site.world.out}
