"""What is observed of a cluster: who is asked what, and what an answer means."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from saltern.model.impact import Impact, NodeImpact, Restart, RoleImpact, Touch
from saltern.plan.types import Check
from saltern.rollout import facts
from saltern.rollout.ports import Return
from saltern.rollout.returns import judge, silent
from tests.unit.rollout.fakes import FakeNode

NODES = {
    "ctl01": FakeNode(
        ("web.server", "db.server"),
        {
            "web.server": {"health": [{"unit": "web", "retry": {"attempts": 9}}, {"port": 80}]},
            "db.server": {"health": [{"unit": "db"}]},
        },
    ),
    "ctl02": FakeNode(("db.server",), {"db.server": {"health": [{"unit": "db"}]}}),
    "cmp01": FakeNode(("nova.compute",), {"nova.compute": {}}),
}


def asked(*nodes: str) -> list[Check]:
    return facts.checks(NODES, nodes)


def answer(node: str, *good: bool) -> Return:
    items = [item for check in asked(node) for item in check.checks]
    data = [
        {"check": item, "ok": ok, "sentence": f"{item} is {ok}."}
        for item, ok in zip(items, good, strict=True)
    ]
    return judge(node, data, 0)


def test_a_node_is_asked_all_checks_of_its_roles_once_and_without_patience() -> None:
    assert asked("ctl01") == [
        Check("ctl01", "web.server", ({"unit": "web"}, {"port": 80})),
        Check("ctl01", "db.server", ({"unit": "db"},)),
    ]


def test_a_node_without_health_checks_and_one_that_is_not_there_are_not_asked() -> None:
    assert asked("cmp01", "ghost") == []


def test_no_node_is_down_for_what_the_whole_cluster_is_asked() -> None:
    health = [{"unit": "osd"}, {"call": "x.pgs", "scope": "cluster"}]
    node = FakeNode(("store.server",), {"store.server": {"health": health}})
    (check,) = facts.checks({"osd01": node}, ["osd01"])
    assert check.checks == ({"unit": "osd"},)


def test_peers_are_all_that_share_a_role() -> None:
    assert facts.peers(NODES, ["ctl02"]) == ("ctl01", "ctl02")
    assert facts.peers(NODES, ["cmp01", "ghost"]) == ("cmp01",)


def test_who_is_there() -> None:
    seen = facts.presence({"b": judge("b", True, 0), "a": silent("a", "did not answer", "1")})
    assert seen.present == ("b",)
    assert seen.absent == {"a": "a: did not answer."}


def test_a_failed_check_takes_its_role_down_on_that_node_only() -> None:
    seen = facts.Observed(present=("ctl01", "ctl02"))
    found = facts.observe(
        seen,
        asked("ctl01", "ctl02"),
        {"ctl01": answer("ctl01", True, False, True), "ctl02": answer("ctl02", True)},
    )
    assert found.down == {"web.server": frozenset({"ctl01"})}
    assert found.present == ("ctl01", "ctl02")
    assert found.why["ctl01"] == ["ctl01: web.server: {'port': 80} is False."]


def test_what_is_not_answered_never_counts_as_healthy() -> None:
    seen = facts.Observed(present=("ctl01",))
    for data in ([], None, "fine", [True, True, True]):
        found = facts.observe(seen, asked("ctl01"), {"ctl01": judge("ctl01", data, 0)})
        assert set(found.down) == {"web.server", "db.server"}, data


def test_a_verdict_that_contradicts_itself_takes_its_role_down() -> None:
    data = [{"ok": True, "verdict": "fail", "code": "port-closed", "sentence": "shut."}]
    seen = facts.Observed(present=("ctl02",))
    found = facts.observe(seen, asked("ctl02"), {"ctl02": judge("ctl02", data, 0)})
    assert set(found.down) == {"db.server"}


def test_a_node_that_falls_silent_is_absent() -> None:
    seen = facts.Observed(present=("ctl01", "ctl02"))
    found = facts.observe(seen, asked("ctl02"), {"ctl02": silent("ctl02", "did not answer")})
    assert found.present == ("ctl01",)
    assert found.absent == {"ctl02": "ctl02: did not answer."}
    assert seen.present == ("ctl01", "ctl02")


def test_a_node_that_cannot_say_how_it_is_counts_as_unwell() -> None:
    seen = facts.Observed(present=("ctl02",))
    lacking = judge("ctl02", "'health.check' is not available.", 254)
    found = facts.observe(seen, asked("ctl02"), {"ctl02": lacking})
    assert found.down == {"db.server": frozenset({"ctl02"})}
    assert "salt ctl02 saltutil.sync_all" in found.why["ctl02"][0]
    found = facts.observe(seen, asked("ctl02"), {"ctl02": judge("ctl02", "boom", 1)})
    assert found.why["ctl02"] == ["ctl02: db.server: boom."]


# -- what a change touches -----------------------------------------------------------------------

TOUCH = (Touch("changed", "file.managed", "/etc/web.conf"),)


def impact(*nodes: NodeImpact, **more: Any) -> Impact:
    return Impact("a", "b", nodes=list(nodes), **more)


def test_touched_are_the_roles_whose_states_differ_in_the_order_of_the_node() -> None:
    roles = (
        RoleImpact("db.server", TOUCH),
        RoleImpact("web.server", TOUCH, (Restart("restart", "web"), Restart("restart", "web"))),
    )
    found = facts.touched_roles(impact(NodeImpact("c", "ctl01", "changed", (), roles)), NODES)
    assert found == {"ctl01": (("web.server", "db.server"), ("restart web",))}


def test_data_alone_touches_nothing_when_its_states_are_known() -> None:
    entry = NodeImpact("c", "ctl01", "changed", ("web.server",), ())
    assert facts.touched_roles(impact(entry), NODES) == {}
    # a role without a formula is judged by its data
    assert facts.touched_roles(impact(entry, unknown=("web.server",)), NODES) == {
        "ctl01": (("web.server",), ())
    }


def test_without_rendering_data_decides_and_unknown_means_all_roles() -> None:
    data = NodeImpact("c", "ctl01", "changed", ("db.server",))
    other = NodeImpact("c", "ctl02", "changed")
    found = facts.touched_roles(impact(data, other, rendered=False), NODES)
    assert found == {"ctl01": (("db.server",), ()), "ctl02": (("db.server",), ())}


def test_new_nodes_are_touched_whole_and_removed_ones_not_at_all() -> None:
    found = facts.touched_roles(
        impact(NodeImpact("c", "ctl01", "added"), NodeImpact("c", "gone", "removed")), NODES
    )
    assert found == {"ctl01": (("web.server", "db.server"), ())}


def test_a_state_of_no_role_touches_all_of_them() -> None:
    entry = NodeImpact("c", "ctl01", "changed", (), (RoleImpact("", TOUCH),))
    assert facts.touched_roles(impact(entry), NODES)["ctl01"][0] == ("web.server", "db.server")


def test_what_cannot_be_rendered_is_touched_and_told() -> None:
    roles = (RoleImpact("web.server", error="Rendering failed:\n  no guard"),)
    found = impact(*(NodeImpact("c", node, "changed", (), roles) for node in ("ctl01", "ctl02")))
    assert facts.touched_roles(found, NODES)["ctl01"][0] == ("web.server",)
    assert facts.unrendered(found) == [
        "  web.server counts as touched on ctl01-02: Rendering failed: no guard"
    ]
    assert facts.unrendered(impact()) == []
    (line,) = facts.unrendered(impact(rendered=False, note="Salt is not there"))
    assert line.endswith("data alone decides what is touched: Salt is not there")


# -- fingerprints --------------------------------------------------------------------------------


def test_a_fingerprint_knows_content_and_no_order() -> None:
    one, two = ("a", "1"), ("b", "2")
    assert facts.fingerprint([one, two]) == facts.fingerprint([two, one, one])
    assert facts.fingerprint([one, two]) != facts.fingerprint([("a", "2"), ("b", "1")])
    assert facts.fingerprint([]) == ""


def test_artifacts_are_the_files_that_roles_name() -> None:
    pillar = {
        "keystone": {"server": {"source": {"url": "https://x/artifacts/2025.1/keystone.tar.zst"}}},
        "web": {"server": {"source": {"engine": "pkg"}}},
    }
    node = SimpleNamespace(applications=("keystone.server", "web.server", "db.server"))
    node.pillar = pillar
    assert facts.artifacts({"n1": node, "n2": node}) == ["2025.1/keystone.tar.zst"]
