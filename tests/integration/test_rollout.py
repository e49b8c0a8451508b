"""A rollout over real minions that is hit at its worst moments.

Every test rolls a revision over both minions, one after the other, with a step in each wave that
may not run twice (it counts how often it did), and looks at the same three things afterwards: every
step of the plan ran, nothing ran twice that may not, and the nodes are where the plan takes them.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import salt.client

from saltern.adapters.journal import Journal
from saltern.adapters.master import Site
from saltern.adapters.modelsite import ModelSite
from saltern.adapters.rollouts import Rollouts
from saltern.adapters.salt_bus import SaltBus
from saltern.plan.types import CALL, Basis, Plan, PlannedCall, Step
from saltern.plan.undo import undo
from saltern.rollout.ports import (
    ABORTED,
    DONE,
    FAILED,
    INTENT,
    OK,
    PAUSED,
    PLANNED,
    RUNNING,
    UNKNOWN,
)
from tests.support import TREE, plans

from .carry import fill
from .conftest import CLUSTER, NODES, Trial
from .link import Link, link, why_not
from .test_fail_closed import Watched

FIRST, SECOND = NODES
ROLE = "trial.base"
STEPPED = "trial_probe.once"
#: for tests that know that a node is gone: it is given up within seconds
LITTLE = {"PROBE_WAIT": 3.0, "PROBES": 2, "SETTLE": 2.0}
#: Seconds that anything here may take.
LONG = 240
#: Seconds that a network is cut.
CUT = 60
#: Seconds that a master is away.
AWAY = 45


def until(condition: Callable[[], Any], what: str, seconds: float = LONG) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.05)


class Rolling:
    """Rollouts over the trial's minions."""

    def __init__(self, trial: Trial, master: Any, minions: Mapping[str, Any]) -> None:
        self.trial, self.master, self.minions = trial, master, minions
        self.model = ModelSite(Site.of(master.config))
        self.rollouts = Rollouts(
            self.model.journal, lambda name: self.model.store.open(name, options=self.model.options)
        )
        self.bus = SaltBus(master.config)
        self.go = trial.work / "go"
        self.before = self.model.journal.deployed()[CLUSTER]
        self.after = self.edited("moved")
        self.engines: list[subprocess.Popen[str]] = []

    def edited(self, greeting: str) -> str:
        """Compile a revision with another greeting."""
        file = self.trial.model / "classes/service/trial/base.yml"
        kept = file.read_text()
        file.write_text(kept.replace("greeting: hello", f"greeting: {greeting}"))
        try:
            return self.model.compile(self.trial.commit(greeting), "tests", "").revision.id
        finally:
            file.write_text(kept)
            self.trial.commit("as before")

    # -- the plan --------------------------------------------------------------------------

    def questions(self, name: str) -> list[dict[str, Any]]:
        return [{"file": f"{self.trial.work}/{name}.{CLUSTER}.test/base", "mode": "0644"}]

    def stepped(self, node: str, hold: bool, silence: float) -> Step:
        """What may not run twice; while ``hold``, it lasts until the test says go."""
        kwarg = {"until": str(self.go)} if hold else {}
        call = PlannedCall((node,), STEPPED, ("stepped",), kwarg)
        return Step(
            "", CALL, "step", (node,), (call,), idempotent=False, timeout=silence, limit=LONG
        )  # fmt: skip

    def plan(self, hold: str = "", also: Sequence[str] = (), silence: float = 5.0) -> Plan:
        """Both nodes, one after the other.

        :param hold: the step that may not run twice waits on this node
        :param also: roles that are applied, too
        :param silence: seconds after which a node is asked whether it still works on that step
        """
        revision = self.after
        waves = []
        for node in NODES:
            steps = plans.whole([node], ROLE, revision, self.questions, also)
            # after the refresh, before the states
            steps.insert(3, self.stepped(node, node == hold, silence))
            waves.append(([node], steps))
        basis = Basis(revision, deployed=self.before, present=NODES)
        stages = [plans.stage("control", waves, [ROLE]), plans.committed(revision)]
        return plans.plan(CLUSTER, basis, stages)

    def begin(self, plan: Plan) -> str:
        return self.rollouts.begin(plan, "tests")

    # -- the engine ------------------------------------------------------------------------

    def start(self, rollout: str, **order: Any) -> subprocess.Popen[str]:
        """Start an engine in a process of its own.

        :param order: see :mod:`tests.integration.carry`
        """
        order = {
            "config": str(Path(self.master.config_dir) / "master"),
            "rollout": rollout,
            **order,
        }
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.integration.carry", json.dumps(order)],
            cwd=TREE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.engines.append(process)
        return process

    def outcome(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        """Wait for an engine that ends by itself."""
        out, err = process.communicate(timeout=LONG)
        assert process.returncode == 0, err
        told: dict[str, Any] = json.loads(out.splitlines()[-1])
        return told

    def run(self, rollout: str, **order: Any) -> dict[str, Any]:
        return self.outcome(self.start(rollout, **order))

    def killed(self, rollout: str, **point: str) -> None:
        """Run an engine until it is killed at a point."""
        process = self.start(rollout, point={"what": "kill", **point})
        _, err = process.communicate(timeout=LONG)
        assert process.returncode == -9, err

    # -- what came of it -------------------------------------------------------------------

    def counts(self) -> dict[str, int]:
        """How often the step that may not run twice did, by node."""
        found = {}
        for node in NODES:
            path = self.trial.work / node / "stepped"
            found[node] = len(path.read_text().splitlines()) if path.exists() else 0
        return found

    def greetings(self) -> dict[str, str]:
        """What the states wrote."""
        return {
            node: (self.trial.work / node / "base").read_text().strip()
            for node in NODES
        }  # fmt: skip

    def served(self) -> dict[str, str]:
        """The revision of the pillar that each node has after it asked anew."""
        self.bus.call(NODES, "saltutil.refresh_pillar", (), {"wait": True})
        answers = self.bus.call(NODES, "pillar.raw", ["__reclass__"])
        return {node: answer.data["revision"] for node, answer in answers.items()}

    def cached(self, jid: str) -> Any:
        """What the master's job cache has of a job."""
        with salt.client.get_local_client(mopts=dict(self.master.config)) as client:
            return client.get_cache_returns(jid)

    def pins(self) -> dict[str, str]:
        return {pin.node: pin.revision for pin in self.model.journal.pins(CLUSTER)}

    def phases(self, rollout: str) -> dict[str, str]:
        return {name: one.phase for name, one in self.rollouts.load(rollout).records.items()}

    def carried_out(self, rollout: str) -> None:
        """Every step ran, none twice that may not, and the end is the plan's."""
        state = self.rollouts.load(rollout)
        assert state.state == DONE, state.reason
        assert self.phases(rollout) == {step.id: OK for _, _, step in state.plan.steps()}
        assert self.counts() == dict.fromkeys(NODES, 1)
        assert self.greetings() == dict.fromkeys(NODES, "moved")
        assert self.model.journal.deployed()[CLUSTER] == self.after
        assert self.pins() == {}
        assert not [lease for lease in state.leases if lease.released is None]


@pytest.fixture(scope="module")
def synced(master: Any, minions: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The minions have the site's modules; afterwards they have their usual pillar."""
    bus = SaltBus(master.config)
    found = bus.call(NODES, "saltutil.sync_all", (), {"refresh": False})
    assert all(one.ok for one in found.values()), found
    yield minions
    bus.call(NODES, "saltutil.refresh_pillar", (), {"wait": True})


@pytest.fixture
def rolling(trial: Trial, master: Any, synced: dict[str, Any]) -> Iterator[Rolling]:
    """Both minions at the revision that is deployed, their role applied."""
    trial.reset()
    made = Rolling(trial, master, synced)
    assert made.served() == dict.fromkeys(NODES, made.before)
    applied = made.bus.call(NODES, "state.apply", [ROLE])
    assert all(one.ok for one in applied.values()), applied
    yield made
    made.go.touch()
    for process in made.engines:
        if process.poll() is None:
            process.kill()
        process.communicate()
    for left in made.rollouts.list(CLUSTER, [PLANNED, RUNNING, PAUSED, FAILED]):
        made.rollouts.move(left.id, ABORTED, time.time(), "the test is over")
    made.model.journal.unpin(NODES, "tests", "as before")
    made.model.deploy(made.model.find(made.before), CLUSTER, "tests", "as before")
    trial.reset()


@pytest.fixture
def watched(trial: Trial, master: Any, minions: Any, call: Callable[..., Any]) -> Watched:
    del minions
    return Watched(trial, master, call)


# -- the engine is killed ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "ran"),
    [("before", 0), ("after", None), ("collecting", 1)],
    ids=["between-intent-and-publish", "after-publish", "while-collecting"],
)
def test_a_killed_engine_is_taken_up_where_it_was(
    rolling: Rolling, when: str, ran: int | None
) -> None:
    rollout = rolling.begin(rolling.plan(hold=FIRST if when == "collecting" else ""))
    file = str(rolling.trial.work / FIRST / "stepped")
    rolling.killed(rollout, when=when, fun=STEPPED, file=file)
    assert rolling.phases(rollout)["control/1/4-call"] == INTENT
    if ran is not None:
        assert rolling.counts() == {FIRST: ran, SECOND: 0}
    # a node that was not reached has its old pillar, whatever runs on it
    assert rolling.served() == {FIRST: rolling.after, SECOND: rolling.before}
    rolling.go.touch()
    assert rolling.run(rollout)["code"] == 0
    rolling.carried_out(rollout)


# -- the master ----------------------------------------------------------------------------


def test_a_master_that_restarts_while_a_step_runs(rolling: Rolling, watched: Watched) -> None:
    rollout = rolling.begin(rolling.plan(hold=FIRST))
    engine = rolling.start(rollout)
    until(lambda: rolling.counts()[FIRST], "the step begins")
    watched.restart()
    rolling.go.touch()
    engine.communicate(timeout=LONG)
    if engine.returncode:
        # it may end with the master; then the next one goes on
        assert rolling.run(rollout)["code"] == 0
    rolling.carried_out(rollout)


# -- a minion ------------------------------------------------------------------------------


def processes(minion: Any) -> list[psutil.Process]:
    """A minion's processes, those of its jobs included."""
    top = psutil.Process(minion.pid)
    return [top, *top.children(recursive=True)]


def test_a_minion_that_is_killed_in_the_middle_of_a_step(rolling: Rolling) -> None:
    """Nobody knows whether it ran, so people say; and the other node was never touched."""
    rollout = rolling.begin(rolling.plan(hold=FIRST))
    engine = rolling.start(rollout, patience=LITTLE)
    until(lambda: rolling.counts()[FIRST], "the step begins")
    minion = rolling.minions[FIRST]
    for process in processes(minion):
        process.kill()
    outcome = rolling.outcome(engine)
    minion.terminate()
    minion.start()
    assert outcome["state"] == FAILED
    assert f"ran on {FIRST}, and it may not run twice" in outcome["reason"]
    assert rolling.phases(rollout)["control/1/4-call"] == UNKNOWN
    until(lambda: rolling.bus.present(NODES)[FIRST].ok, "the minion is back")
    assert rolling.served() == {FIRST: rolling.after, SECOND: rolling.before}
    assert rolling.greetings() == dict.fromkeys(NODES, "hello")
    # a run that nobody asked a retry for fails in the same way, and publishes nothing
    assert rolling.run(rollout)["state"] == FAILED
    assert rolling.counts() == {FIRST: 1, SECOND: 0}
    assert rolling.run(rollout, retry={"assume": "ran"})["code"] == 0
    rolling.carried_out(rollout)


def test_a_minion_that_hangs(rolling: Rolling) -> None:
    """It is given up; what it returns once it goes on again is found by the retry."""
    rollout = rolling.begin(rolling.plan(hold=FIRST))
    engine = rolling.start(rollout, patience=LITTLE)
    until(lambda: rolling.counts()[FIRST], "the step begins")
    hung = processes(rolling.minions[FIRST])
    for process in hung:
        process.suspend()
    try:
        outcome = rolling.outcome(engine)
        assert outcome["state"] == FAILED
        assert rolling.phases(rollout)["control/1/4-call"] == UNKNOWN
        assert rolling.counts() == {FIRST: 1, SECOND: 0}
        assert rolling.pins() == {FIRST: rolling.after}
    finally:
        for process in hung:
            process.resume()
    rolling.go.touch()
    (jid,) = rolling.rollouts.load(rollout).records["control/1/4-call"].jids
    until(lambda: rolling.cached(jid), "the late return")
    assert rolling.run(rollout, retry={"assume": "ran"})["code"] == 0
    rolling.carried_out(rollout)


@pytest.fixture
def cable(rolling: Rolling) -> Iterator[Link]:
    """The first minion lives at the far end of a link, with the settings of a site's minions."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    minion, options = rolling.minions[FIRST], rolling.master.config
    fragments = Path(minion.config_dir) / "minion.d"
    fragments.mkdir(exist_ok=True)
    ours = fragments / "10-saltern.conf"
    with link(options["publish_port"], options["ret_port"]) as made:
        shutil.copy(TREE / "etc/minion.d/10-saltern.conf", ours)
        (fragments / "20-master.conf").write_text(f"master: {made.here}\n")
        minion.terminate()
        process = subprocess.Popen(
            made.inside(minion.cmdline()), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            until(lambda: rolling.bus.present([FIRST])[FIRST].ok, "the minion is at its place")
            yield made
        finally:
            for one in processes(process):
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()
            process.wait()
            shutil.rmtree(fragments)
            minion.start()
    until(lambda: rolling.bus.present([FIRST])[FIRST].ok, "the minion is back")


@pytest.mark.full
@pytest.mark.parametrize("cut", [Link.pulled, Link.lossy], ids=["pulled", "lossy"])
def test_a_network_that_is_cut_for_a_minute(
    rolling: Rolling, cable: Link, cut: Callable[[Link], AbstractContextManager[None]]
) -> None:
    """What the step came to while nobody could be told is told afterwards."""
    # as long as a plan of the planner waits before it asks
    rollout = rolling.begin(rolling.plan(hold=FIRST, silence=Step("", CALL, "").timeout))
    engine = rolling.start(rollout)
    until(lambda: rolling.counts()[FIRST], "the step begins")
    with cut(cable):
        rolling.go.touch()
        begun = time.monotonic()
        until(lambda: time.monotonic() - begun > CUT, "a minute")
        assert engine.poll() is None
        assert rolling.phases(rollout)["control/1/4-call"] == INTENT
    outcome = rolling.outcome(engine)
    assert outcome["code"] == 0, outcome
    rolling.carried_out(rollout)


@pytest.mark.full
@pytest.mark.usefixtures("cable")
def test_what_a_step_came_to_while_the_master_was_away_is_told(rolling: Rolling) -> None:
    """For longer than a minion without the settings of a site tries to return it."""
    rollout = rolling.begin(rolling.plan(hold=FIRST, silence=Step("", CALL, "").timeout))
    engine = rolling.start(rollout)
    until(lambda: rolling.counts()[FIRST], "the step begins")
    rolling.master.terminate()
    try:
        rolling.go.touch()
        begun = time.monotonic()
        until(lambda: time.monotonic() - begun > AWAY, "a restart that takes its time")
    finally:
        rolling.master.start()
    engine.communicate(timeout=LONG)
    if engine.returncode:
        # it may end with the master; then the next one goes on
        outcome = rolling.run(rollout)
        assert outcome["code"] == 0, outcome
    rolling.carried_out(rollout)


# -- the journal ---------------------------------------------------------------------------


def test_a_journal_that_is_locked_for_a_moment(rolling: Rolling) -> None:
    rollout = rolling.begin(rolling.plan(hold=FIRST))
    engine = rolling.start(rollout)
    until(lambda: rolling.counts()[FIRST], "the step begins")
    path = rolling.trial.journal_file
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        rolling.go.touch()
        (jid,) = rolling.rollouts.load(rollout).records["control/1/4-call"].jids
        until(lambda: rolling.cached(jid), "the return")
        # it has the return, and cannot note it
        with pytest.raises(subprocess.TimeoutExpired):
            engine.wait(1)
        assert rolling.phases(rollout)["control/1/4-call"] == INTENT
        writer.execute("ROLLBACK")
    assert rolling.outcome(engine)["code"] == 0
    rolling.carried_out(rollout)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own that is soon full."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a file system")
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m,mode=0700", "tmpfs", str(folder)], check=True
    )
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_under_the_journal(rolling: Rolling, small_disk: Path) -> None:
    """What cannot be noted is not done; what was done is found once there is room again."""
    url = f"sqlite:///{small_disk}/journal.db"
    journal = Journal(url)
    journal.prepare()
    rollouts, filler = Rollouts(journal), small_disk / "filler"
    # pins are served from the site's own journal, so here nothing moves
    waves = [
        ([node], [rolling.stepped(node, False, 5.0), plans.apply([node], [ROLE])]) for node in NODES
    ]
    basis = Basis(rolling.before, deployed=rolling.before, present=NODES)
    plan = plans.plan(CLUSTER, basis, [plans.stage("control", waves, [ROLE])])
    rollout = rollouts.begin(plan, "tests")

    def refused(**order: Any) -> None:
        process = rolling.start(rollout, journal=url, **order)
        _, err = process.communicate(timeout=LONG)
        assert process.returncode == 1
        assert "JournalError" in err, err

    fill(filler)
    refused()
    assert rolling.counts() == dict.fromkeys(NODES, 0)
    filler.unlink()
    # full from the moment on when the intent is on the disk
    refused(point={"what": "fill", "when": "before", "fun": STEPPED, "file": str(filler)})
    assert {name: one.phase for name, one in rollouts.load(rollout).records.items()} == {
        "control/1/1-call": INTENT
    }
    filler.unlink()
    assert rolling.run(rollout, journal=url)["code"] == 0
    done = rollouts.load(rollout)
    assert done.state == DONE
    assert {name: one.phase for name, one in done.records.items()} == {
        step.id: OK for _, _, step in plan.steps()
    }
    assert rolling.counts() == dict.fromkeys(NODES, 1)


# -- back ----------------------------------------------------------------------------------


def test_a_rollback_restores_the_pins(rolling: Rolling) -> None:
    """A stage stops at its first node; the other one never moved, and the first goes back."""
    # the second was held at this revision by hand before
    rolling.model.journal.pin([SECOND], rolling.before, "tests", "held")
    pins = {SECOND: rolling.before}
    plan = rolling.plan(also=["trial.app"])
    rollout = rolling.begin(replace(plan, basis=replace(plan.basis, pins=pins)))
    obstacle = rolling.trial.switch(f"fail-{FIRST}")
    outcome = rolling.run(rollout)
    obstacle.unlink()
    assert outcome["state"] == FAILED
    assert f"{FIRST}: state trial-app-switch" in outcome["reason"]
    assert rolling.greetings() == {FIRST: "moved", SECOND: "hello"}
    assert rolling.pins() == {FIRST: rolling.after, SECOND: rolling.before}
    # whatever runs on a node that was not reached: it has its old pillar
    assert rolling.served() == {FIRST: rolling.after, SECOND: rolling.before}
    assert all(one.ok for one in rolling.bus.call([SECOND], "state.highstate").values())
    state = rolling.rollouts.load(rollout)
    back = undo(state.plan, state.records, rollout=rollout)
    assert set(back.nodes) == {FIRST}
    again = rolling.begin(back)
    told = rolling.run(again)
    assert told["code"] == 0, told
    assert rolling.pins() == pins
    assert rolling.served() == dict.fromkeys(NODES, rolling.before)
    assert rolling.greetings() == dict.fromkeys(NODES, "hello")
    assert rolling.model.journal.deployed()[CLUSTER] == rolling.before
