"""What a change would touch: states compared, requisites followed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from saltern.model import impactshow
from saltern.model.diff import Snapshot, compare
from saltern.model.impact import (
    Impact,
    Job,
    NodeImpact,
    Restart,
    RoleImpact,
    State,
    States,
    Touch,
    compare_states,
    impact,
)
from tests.unit.model.test_diff import node, side, web

KEY = b"0123456789abcdef"
CONFIG = "/etc/web.conf"


def managed(content: str = "1", name: str = CONFIG, **more: Any) -> State:
    return State("web.server", "web-config", "file", "managed", name, content=content, **more)


def running(*watched: str, kind: str = "watch", **more: Any) -> State:
    triggers = {kind: [["file", name] for name in watched]} if watched else {}
    more = {"reacts": True, "triggers": triggers, **more}
    return State("web.server", "web-service", "service", "running", "web", **more)


def told(before: list[State], after: list[State], *roles: str) -> tuple[RoleImpact, ...]:
    return compare_states(
        States(tuple(before)), States(tuple(after)), roles or ("web.server", "lb.proxy")
    )


def test_equal_states_touch_nothing() -> None:
    states = [managed(), running("web-config")]
    assert told(states, states) == ()


@pytest.mark.parametrize("watched", ["web-config", CONFIG, "/etc/web.*"])
@pytest.mark.parametrize("kind", ["watch", "watch_any", "listen"])
def test_a_file_that_differs_restarts_what_watches_it(watched: str, kind: str) -> None:
    service = running(watched, kind=kind)
    (role,) = told([managed("1"), service], [managed("2"), service])
    assert role.role == "web.server"
    assert role.touches == (Touch("changed", "file.managed", CONFIG, ("content",)),)
    assert role.restarts == (Restart("restart", "web", (CONFIG,)),)


def test_reload_in_place_of_restart() -> None:
    service = running("web-config", reload=True)
    (role,) = told([managed("1"), service], [managed("2"), service])
    assert [restart.action for restart in role.restarts] == ["reload"]


def test_a_service_that_watches_something_else_stays() -> None:
    service = running("other")
    (role,) = told([managed("1"), service], [managed("2"), service])
    assert role.restarts == ()


def test_require_alone_restarts_nothing() -> None:
    service = running("web-config", kind="require")
    (role,) = told([managed("1"), service], [managed("2"), service])
    assert role.restarts == ()


def test_a_state_that_does_not_react_passes_nothing_on() -> None:
    link = State(
        "web.server",
        "web-link",
        "file",
        "symlink",
        "/etc/l",
        triggers={"watch": [["file", CONFIG]]},
    )
    service = running("web-link")
    (role,) = told([managed("1"), link, service], [managed("2"), link, service])
    assert role.restarts == ()


def test_a_chain_over_a_command_and_another_role() -> None:
    command = State(
        "web.server", "web-reload", "cmd", "run", "systemctl daemon-reload",
        triggers={"onchanges": [["file", "web-config"]]}, reacts=True,
    )  # fmt: skip
    other = State(
        "lb.proxy", "lb-service", "service", "running", "haproxy",
        triggers={"watch": [["cmd", "web-reload"]]}, reacts=True,
    )  # fmt: skip
    one, two = told([managed("1"), command, other], [managed("2"), command, other])
    assert one.touches == (
        Touch("changed", "file.managed", CONFIG, ("content",)),
        Touch("triggered", "cmd.run", "systemctl daemon-reload", (CONFIG,)),
    )
    assert two == RoleImpact(
        "lb.proxy", (), (Restart("restart", "haproxy", ("systemctl daemon-reload",)),)
    )


def test_a_command_that_waits_for_a_change_does_not_run_without_one() -> None:
    def command(text: str) -> State:
        return State(
            "web.server", "web-reload", "cmd", "run", text,
            triggers={"onchanges": [["file", "web-config"]]},
        )  # fmt: skip

    assert told([managed(), command("a")], [managed(), command("b")]) == ()
    (role,) = told([managed("1"), command("a")], [managed("2"), command("b")])
    assert role.touches[1] == Touch("changed", "cmd.run", "b", (CONFIG,))


def test_requisites_on_a_whole_sls() -> None:
    service = running(triggers={"watch": [["sls", "web.files"]]})
    old = State("web.files", "web-a", "file", "managed", "/a", content="1")
    new = State("web.files", "web-a", "file", "managed", "/a", content="2")
    (role,) = told([old, service], [new, service])
    assert role.role == "web.server"
    assert role.restarts == (Restart("restart", "web", ("/a",)),)


def test_circles_end() -> None:
    one = State("w.s", "a", "cmd", "run", "a", triggers={"onchanges": [["cmd", "b"]]})
    two = State("w.s", "b", "cmd", "run", "b", triggers={"onchanges": [["cmd", "a"]]})
    assert told([one, two, managed("1")], [one, two, managed("2")])[0].role == "web.server"


def test_services_that_start_and_stop() -> None:
    dead = State("web.server", "web-service", "service", "dead", "web")
    assert told([running()], [dead])[0].restarts == (Restart("stop", "web"),)
    assert told([dead], [running()])[0].restarts == (Restart("start", "web"),)
    assert told([], [running()])[0].restarts == (Restart("start", "web"),)
    (gone,) = told([running()], [])
    assert gone.touches == (Touch("removed", "service.running", "web"),)


def test_arguments_ids_and_names() -> None:
    mode = managed(arguments={"mode": "a", "user": "r"})
    assert told([mode], [managed(arguments={"mode": "b", "user": "r"})])[0].touches[0].what == (
        "mode",
    )
    renamed = State("web.server", "web-other", "file", "managed", CONFIG, content="1")
    assert told([managed()], [renamed]) == ()
    moved = managed(name="/etc/new.conf")
    assert told([managed()], [moved])[0].touches == (
        Touch("changed", "file.managed", "/etc/new.conf", ("name",)),
    )
    data = managed("1", arguments={"context": "a"})
    assert told([data], [managed("1", arguments={"context": "b"})]) == ()
    assert told([data], [managed("2", arguments={"context": "b"})])[0].touches[0].what == (
        "content",
    )


def test_content_that_is_not_known_counts_as_touched() -> None:
    (role,) = told([managed()], [managed("", problem="no such template")])
    assert role.touches[0].what == ("content unknown",)


def test_a_role_that_does_not_render_says_so() -> None:
    found = compare_states(States((), {"web.server": "boom"}), States((managed(),)), ["web.server"])
    assert found[0].error == "boom"


# -- nodes ---------------------------------------------------------------------------------


def renders(table: Mapping[tuple[str, str], list[State]], asked: list[Job]) -> Callable[..., Any]:
    def run(jobs: list[Job]) -> dict[tuple[str, str], States]:
        asked.extend(jobs)
        return {
            (name, node_id): States(tuple(table.get((name, node_id), ())))
            for name, node_id, _, _ in jobs
        }

    return run


def found(before: Snapshot, after: Snapshot, render_: Any, **options: Any) -> Impact:
    return impact(before, after, compare(before, after, key=KEY), render_, key=KEY, **options)


def test_only_nodes_that_differ_are_rendered_with_all_their_roles() -> None:
    one = node("web01", web(a=1), roles=("web.server", "ntp.client"))
    two = node("web01", web(a=2), roles=("web.server", "ntp.client"))
    other = node("web02", web(a=1))
    asked: list[Job] = []
    table = {
        ("before", one.id): [managed("1"), running("web-config")],
        ("after", one.id): [managed("2"), running("web-config")],
    }
    result = found(side("a", one, other), side("b", two, other), renders(table, asked))
    assert [(job[0], job[1], job[3]) for job in asked] == [
        ("before", one.id, ("web.server", "ntp.client")),
        ("after", one.id, ("web.server", "ntp.client")),
    ]
    assert [(n.node, n.kind, n.pillar) for n in result.nodes] == [
        (one.id, "changed", ("web.server",))
    ]
    assert result.files() == [CONFIG]
    assert result.restarts() == {"restart web": [one.id]}
    assert (result.roles(), result.formulas()) == (["web.server"], ["web"])
    text = impactshow.text(result)
    assert "  web01\n    web.server\n      ~ /etc/web.conf  (content)\n" in text
    assert "      ! restart web  (by /etc/web.conf)\n" in text
    assert "restart web on web01\n" in text


def test_ciphertext_reaches_no_renderer_and_another_revision_touches_nothing() -> None:
    secret = "-----BEGIN PGP MESSAGE-----\n\n{}\n-----END PGP MESSAGE-----"
    asked: list[Job] = []
    nodes = []
    for revision, text in (("r1", "one"), ("r2", "two")):
        data = {**web(password=secret.format(text)), "__reclass__": {"revision": revision}}
        nodes.append(node("web01", data))
    found(side("a", nodes[0]), side("b", nodes[1]), renders({}, asked))
    pillars = [job[2] for job in asked]
    assert "PGP" not in json.dumps(pillars)
    passwords = [pillar["web"]["server"]["password"] for pillar in pillars]
    assert passwords[0] != passwords[1]
    assert pillars[0]["__reclass__"] == pillars[1]["__reclass__"] == {"revision": ""}


def test_nodes_that_come_and_go() -> None:
    one, two = node("web01", web(a=1)), node("web02", web(a=1))
    table = {("after", two.id): [managed(), running("web-config")]}
    result = found(side("a", one), side("b", two), renders(table, []))
    assert [(n.node, n.kind) for n in result.nodes] == [(one.id, "removed"), (two.id, "added")]
    text = impactshow.text(result)
    assert "- web01  leaves the model; nothing is undone on the host" in text
    assert "  + web02\n    web.server  1 states, starts web\n" in text
    assert "      + /etc/web.conf\n      ! start web" in impactshow.text(result, full=True)


def test_data_that_no_state_reads() -> None:
    result = found(
        side("a", node("web01", web(a=1))), side("b", node("web01", web(a=2))), renders({}, [])
    )
    assert result.nodes[0].roles == ()
    assert "data of web.server differs, no state does" in impactshow.text(result)


def test_without_salt_nodes_and_roles_are_told() -> None:
    one, two = node("web01", web(a=1)), node("web01", web(a=2))
    result = found(side("a", one), side("b", two), None, note="Salt is not installed here")
    assert not result.rendered
    text = impactshow.text(result)
    assert "states were not rendered: Salt is not installed here" in text
    assert "    data of web.server differs\n" in text
    assert result.roles() == ["web.server"]
    assert result.to_json()["rendered"] is False


def test_other_formulas_render_every_node() -> None:
    one, two = node("web01", web(a=1)), node("web02", web(a=1))
    table = {("before", one.id): [managed("1")], ("after", one.id): [managed("2")]}
    asked: list[Job] = []
    result = found(
        side("a", one, two), side("b", one, two), renders(table, asked), formulas_differ=True
    )
    assert len(asked) == 4
    assert [n.node for n in result.nodes] == [one.id]


def test_equal_nodes_are_told_once_though_their_own_names_differ() -> None:
    nodes = [
        NodeImpact(
            "shop", f"web0{n}.example.com", "changed", (),
            (RoleImpact("pki.host", (Touch("changed", "file.managed", f"/pki/web0{n}.pem"),)),),
        )
        for n in (1, 2)
    ]  # fmt: skip
    everyone = {"shop": tuple(f"web0{n}.example.com" for n in range(1, 9))}
    text = impactshow.text(Impact("a", "b", everyone=everyone, nodes=nodes))
    assert "  web01-02\n    pki.host\n      ~ /pki/<name>.pem\n" in text
