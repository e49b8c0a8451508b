"""What is rehearsed, whether it is green, what it is demanded of, and what it tells of a plan."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from saltern.errors import RehearsalRefusedError
from saltern.plan.types import Basis, Plan, Release, Stage, Swap
from saltern.rehearsal import outcome, policy, predict, services
from saltern.rehearsal.outcome import Record, Rehearsal
from saltern.rehearsal.policy import Policy

DAY = 86400.0
NOW = 1_780_000_000.0


@dataclass(frozen=True)
class Node:
    """What is read of a compiled node."""

    applications: tuple[str, ...]
    pillar: dict[str, Any] = field(default_factory=dict)


def source(release: str, **more: Any) -> dict[str, Any]:
    return {
        "engine": "venv", "release": release, "url": f"https://x/{release}.tar.zst",
        "sha256": release.replace(".", "") * 10, "wsgi": "app:application",
        "database": {"migrations": "m", "section": "database", "sync": [["x-manage", "sync"]]},
        "upgrade": {"expand": [["x-manage", "expand"]], "migrate": [["x-manage", "migrate"]],
                    "contract": [["x-manage", "contract"]]},
        **more,
    }  # fmt: skip


def controller(release: str, **nova: Any) -> Node:
    return Node(
        ("keystone.server", "nova.database", "nova.common", "horizon.server"),
        {
            "keystone": {"server": {"source": source(release), "database": {"name": "identity"}}},
            "nova": {
                "common": {"source": source(release), "region": "North"},
                "database": {"cell": {"cell1": {}, "cell2": {"database": {"name": "nova2"}}}},
                **nova,
            },
        },
    )


def fleet(release: str, **told: Any) -> dict[str, Node]:
    shadow = Node(("rehearsal.shadow",), {"rehearsal": {"shadow": {"policy": told}}})
    return {"cfg01": shadow, "ctl01": controller(release), "ctl02": controller(release)}


# -- what is rehearsed -----------------------------------------------------------------------------


def test_services_are_read_from_both_models() -> None:
    found, left = services.read(fleet("2025.1"), fleet("2026.1"))
    assert [(one.name, one.before, one.after, one.moves) for one in found] == [
        ("keystone", "2025.1", "2026.1", True), ("nova", "2025.1", "2026.1", True),
    ]  # fmt: skip
    keystone, nova = found
    assert keystone.databases == ("identity",)
    assert keystone.spec["databases"] == {"keystone": "identity_rehearsal"}
    assert keystone.spec["expand"] == [["x-manage", "expand"], ["x-manage", "migrate"]]
    assert nova.databases == ("nova_api", "nova_cell0", "nova", "nova2")
    assert set(nova.spec["cells"]) == {"cell0", "cell1", "cell2"}
    assert nova.spec["cells"]["cell2"]["database"] == "{url[cell_cell2]}"
    assert [one["section"] for one in nova.spec["schemas"]] == ["api_database", "database"]
    assert nova.spec["region"] == "North"
    assert not left


def test_nothing_of_production_is_in_a_configuration() -> None:
    """No host, no password, no broker, no OVN, no store: whatever the model says of them."""
    model = fleet("2026.1")
    for name in ("ctl01", "ctl02"):
        pillar = model[name].pillar
        pillar["keystone"]["server"]["database"] |= {"host": "api.prod", "password": "pr0d"}
        pillar["nova"]["common"]["message_queue"] = {"password": "pr0d", "members": ["inf01.prod"]}
        pillar["nova"]["common"]["config"] = {"DEFAULT": {"transport_url": "rabbit://inf01.prod"}}
    found, _ = services.read(fleet("2025.1"), model)
    assert "prod" not in str([one.spec for one in found])
    assert "pr0d" not in str([one.spec for one in found])
    assert services.SHADOW
    for row in services.rows().values():
        text = str(row["files"])
        assert "unix_socket" not in text  # filled in on the shadow, from what is a copy
        assert "rabbit" not in text
        assert "ovn" not in text.lower()


def test_every_row_can_be_filled_in() -> None:
    known = {
        **dict.fromkeys(("venv", "etc", "var", "user", "password", "region"), "x"),
        "url": dict.fromkeys(("keystone", "glance", "placement", "nova", "nova_api", "nova_cell0",
                              "neutron", "cinder", "heat"), "u"),
        "copy": {"keystone": "c"},
    }  # fmt: skip

    def fill(data: Any) -> None:
        if isinstance(data, dict):
            data = list(data.values())
        if isinstance(data, list):
            for one in data:
                fill(one)
        elif isinstance(data, str):
            data.format_map(known)

    for row in services.rows().values():
        fill([row["files"], row.get("api"), row.get("setup")])
        assert set(row["read"]) <= set(row["files"])


def test_members_run_the_same_code() -> None:
    mixed = fleet("2025.1") | {"ctl02": controller("2024.1")}
    with pytest.raises(RehearsalRefusedError, match="ctl01, ctl02 run different environments"):
        services.read(mixed, fleet("2026.1"))


@pytest.mark.parametrize("lost", ["sha256", "database"])
def test_a_service_without_an_environment_is_refused(lost: str) -> None:
    model = fleet("2025.1")
    for name in ("ctl01", "ctl02"):
        del model[name].pillar["keystone"]["server"]["source"][lost]
    with pytest.raises(RehearsalRefusedError, match="keystone runs from no environment"):
        services.read(model, fleet("2026.1"))


def test_what_cannot_be_rehearsed_is_told() -> None:
    before, after = fleet("2025.1"), fleet("2026.1")
    more = Node(("octavia.server",), {"octavia": {"server": {"source": source("2026.1")}}})
    glance = Node(("glance.server",), {"glance": {"server": {"source": source("2026.1")}}})
    _, left = services.read(before, after | {"a": more, "b": glance})
    assert left == (
        "glance is new in the cluster: there is nothing to migrate.",
        "octavia is not rehearsed: nothing is known of how to.",
    )


def test_there_is_one_shadow() -> None:
    assert services.shadow(fleet("2025.1")) == "cfg01"
    two = fleet("2025.1") | {"cfg02": Node(("rehearsal.shadow",))}
    for nodes in ({}, two):
        with pytest.raises(RehearsalRefusedError, match="one is needed"):
            services.shadow(nodes)


# -- green -----------------------------------------------------------------------------------------

WHOLE = [
    Record("begin", "ok", 3), Record("load", "ok", 10),
    Record("expand", "ok", 60, "nova", "2026.1"),
    Record("check", "ok", 4, "nova", "2026.1", warnings=("old: x",)),
    Record("contract", "ok", 30, "nova", "2026.1"), Record("smoke", "ok", 9, "nova", "2026.1"),
    Record("restore", "ok", 12), Record("current", "ok", 2, "nova", "2025.1"), Record("end", "ok"),
]  # fmt: skip


def test_a_rehearsal_is_green_when_all_of_it_is() -> None:
    assert outcome.verdict(WHOLE) == "green"
    assert outcome.sentence(WHOLE, "green") == (
        "1 services were rehearsed in 2 min 10 s, nothing failed, 1 warnings."
    )
    for number in range(len(WHOLE)):
        failed = [replace(one, result="failed") if n == number else one
                  for n, one in enumerate(WHOLE)]  # fmt: skip
        assert outcome.verdict(failed) == "red"
    # what was given up on its way is not green either
    assert outcome.verdict(WHOLE[:-1]) == "red"
    assert outcome.verdict([*WHOLE[:2], WHOLE[-1]]) == "red"
    assert outcome.verdict([]) == "red"


def test_a_failure_is_told_with_its_place() -> None:
    failed = [*WHOLE[:2], replace(WHOLE[2], result="failed", sentence="disk full."), WHOLE[-1]]
    told = outcome.sentence(failed, "red")
    assert told == "nova 2026.1: the schema is expanded: disk full."


def rehearsal(**more: Any) -> Rehearsal:
    return replace(
        Rehearsal(
            "e20260528-1", "demo", "green", "r" * 40, "d" * 40, "fingerprint",
            {"nova": ("2025.1", "2026.1"), "keystone": ("2025.1", "2026.1")}, "cfg01", "b", "ann",
            NOW - 200, NOW - 100, "It is well.", records=tuple(WHOLE),
        ),
        **more,
    )  # fmt: skip


def test_the_report_has_a_row_for_each_service() -> None:
    text = outcome.report(rehearsal(notes=("octavia is not rehearsed.",)))
    assert "# Rehearsal e20260528-1: green" in text
    assert "| nova | 60.0 s | 4.0 s | 30.0 s | 9.0 s | 2.0 s |" in text
    assert "- nova: old: x" in text
    assert "2025.1 -> 2026.1" in text
    assert "octavia is not rehearsed." in text
    data = outcome.to_json(rehearsal())
    assert data["seconds"] == 100.0
    assert "owner" not in data


# -- policy ----------------------------------------------------------------------------------------


def plan(**more: Any) -> Plan:
    stages = (Stage("control", "control", "t", (), ()), Stage("finalize", "resources", "t", (), ()))
    swap = Swap("nova.common", "a", "1", "b", "2", 3)
    moved = Release("openstack", "OpenStack", "2025.1", "2026.1", ("ctl01",))
    found = Plan(
        "upgrade", "demo", Basis("r" * 40, artifacts="fingerprint"), stages,
        releases=(moved,), artifacts=(swap,),
    )  # fmt: skip
    return replace(found, **more)


WANTED = Policy(required=True, days=7)


def test_an_upgrade_needs_its_rehearsal() -> None:
    policy.check(plan(), WANTED, [rehearsal()], NOW)
    policy.check(plan(), Policy(), [], NOW)
    with pytest.raises(RehearsalRefusedError, match="nobody has rehearsed it") as caught:
        policy.check(plan(), WANTED, [], NOW)
    assert caught.value.exit_code == 2
    assert f"salt-run rehearse.run cluster=demo revision={'r' * 40}" in caught.value.cure


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"state": "red"}, "its rehearsal e20260528-1 is red"),
        ({"state": "running", "ended": None}, "its rehearsal e20260528-1 is running"),
        ({"artifacts": "others"}, "nobody has rehearsed it"),
        ({"cluster": "other"}, "nobody has rehearsed it"),
        ({"releases": {"nova": ("2024.1", "2026.1")}}, "nobody has rehearsed it"),
        ({"ended": NOW - 8 * DAY}, "more than 7 days ago"),
    ],
)
def test_another_rehearsal_does_not_count(change: dict[str, Any], why: str) -> None:
    with pytest.raises(RehearsalRefusedError, match=why):
        policy.check(plan(), WANTED, [rehearsal(**change)], NOW)


def test_a_newer_red_one_does_not_take_a_green_one_away() -> None:
    again = rehearsal(id="e20260528-2", state="red", begun=NOW - 50)
    policy.check(plan(), WANTED, [again, rehearsal()], NOW)


@pytest.mark.parametrize(
    "other",
    [
        {"workflow": "change"},
        {"artifacts": ()},
        {"artifacts": (Swap("horizon.server", "a", "1", "b", "2", 3),)},
    ],
)
def test_what_cannot_be_rehearsed_is_not_demanded(other: dict[str, Any]) -> None:
    policy.check(plan(**other), WANTED, [], NOW)


def test_the_strictest_of_both_models_holds() -> None:
    strict, lax = fleet("2025.1", required=True, days=3), fleet("2026.1", required=False)
    assert Policy.of(strict, lax) == Policy(True, 3.0)
    assert Policy.of(lax, strict) == Policy(True, 3.0)
    assert Policy.of(strict, fleet("1", required=True)) == Policy(True, 3.0)
    assert Policy.of(lax, fleet("1")) == Policy(False, 7.0)


# -- prediction ------------------------------------------------------------------------------------


def test_a_plan_has_the_minutes_of_its_rehearsal() -> None:
    told = predict.predicted(plan(), rehearsal(), Policy())
    assert [stage.minutes for stage in told.stages] == [None, 0.5]
    (note,) = told.notes
    assert "expanding the schemas 1 min 0 s, ending their upgrade 30 s" in note
    assert "putting the databases back 12 s; 1 warnings" in note


def test_history_is_better_than_a_rehearsal() -> None:
    known = plan()
    stages = (known.stages[0], replace(known.stages[1], minutes=4.0))
    told = predict.predicted(replace(known, stages=stages), rehearsal(), Policy())
    assert told.stages[1].minutes == 4.0


def test_a_plan_says_that_it_must_be_rehearsed() -> None:
    assert predict.predicted(plan(), None, Policy()) == plan()
    assert "must be rehearsed" in predict.predicted(plan(), None, WANTED).notes[0]
