"""``salt-run model.*`` with real minions: what is pushed, pinned and collected."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from saltern.adapters.salt_bus import SaltBus

from .conftest import CLUSTER, NODES, Trial
from .test_deploy import listening

NODE, OTHER = NODES


@pytest.fixture
def edited(trial: Trial) -> Iterator[Callable[[str], str]]:
    """Commit another greeting; afterwards the tree is as before."""
    before = trial.commit("before")
    file = trial.model / "classes/service/trial/base.yml"

    def edit(greeting: str) -> str:
        file.write_text(file.read_text().replace("greeting: hello", f"greeting: {greeting}"))
        return trial.commit(greeting)

    yield edit
    trial.restore(before)


def greetings(master: Any) -> dict[str, str]:
    """What each minion has in memory after a refresh."""
    bus = SaltBus(master.config)
    bus.call(NODES, "saltutil.refresh_pillar", (), {"wait": True})
    answers = bus.call(NODES, "pillar.raw", ["trial"])
    return {node: answer.data["base"]["greeting"] for node, answer in answers.items()}


def test_a_pin_moves_one_node_and_no_other(
    call: Callable[..., Any], master: Any, edited: Callable[[str], str]
) -> None:
    revision = edited("good-day")
    pinned = call("model.pin", nodes=NODE, revision=revision[:10], reason="canary")
    assert pinned["changed"] == [NODE]
    assert pinned["revision"] == revision
    assert greetings(master) == {NODE: "good-day", OTHER: "hello"}
    assert call("model.pins", cluster=CLUSTER)[NODE]["reason"] == "canary"
    assert call("model.status", node=NODE)["pinned"] is True
    # what is pinned stays, however many come after it
    assert revision not in call("model.gc", newest=0, test=True)["removed"]
    refused = call("model.pin", nodes=f"{NODE},ghost.trial.test", revision=revision)
    assert refused["retcode"] == 2
    assert "has no node ghost.trial.test" in refused["comment"]
    assert call("model.unpin", nodes=[NODE], reason="over")["changed"] == [NODE]
    assert greetings(master) == {NODE: "hello", OTHER: "hello"}
    kinds = [change["kind"] for change in call("model.history", node=NODE, limit=2)]
    assert kinds == ["unpin", "pin"]


def test_what_is_received_is_told_and_moves_nothing(
    run: Any, call: Callable[..., Any], master: Any, edited: Callable[[str], str]
) -> None:
    served = call("model.status")[CLUSTER]["revision"]
    good = edited("good-day")
    with listening(master) as heard:
        assert run("model.receive", good).returncode == 0
        unknown = run("model.receive", "no-such-branch")
    assert unknown.returncode == 2
    assert "no-such-branch is no commit of the model" in unknown.stdout
    (received,) = [event for event in heard if event["tag"] == "saltern/model/received"]
    assert received["data"]["revision"] == good
    # nothing that is served moved
    assert call("model.status")[CLUSTER]["revision"] == served


def test_a_broken_commit_is_never_servable(
    run: Any, call: Callable[..., Any], edited: Callable[[str], str], trial: Trial
) -> None:
    broken = edited("'${no:where}'")
    refused = run("model.receive", broken)
    assert refused.returncode == 2
    assert "${no:where} has no value at key trial:base:greeting" in refused.stdout
    assert call("model.pin", nodes=NODE, revision=broken)["retcode"] == 2
    assert not (trial.store / "revisions" / broken).exists()
