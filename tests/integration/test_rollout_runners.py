"""Rollouts as operators run them: ``salt-run rollout.*`` and an orchestration, on real minions."""

from __future__ import annotations

import copy
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import salt.loader

from saltern.adapters.journal import Journal
from saltern.adapters.master import Site
from saltern.adapters.modelsite import ModelSite
from saltern.adapters.rollouts import Rollouts
from saltern.rollout.ports import DONE, RUNNING
from tests.support import TREE

from .conftest import CLUSTER, NODES, Trial
from .deployment import gone_through, put_back

CLASS = "classes/service/trial/base.yml"


@pytest.fixture
def journal(trial: Trial) -> Journal:
    return Journal(f"sqlite:///{trial.journal_file}")


@pytest.fixture
def deployed(
    call: Callable[..., Any], fresh: Trial, master: Any, journal: Journal
) -> Iterator[Trial]:
    """The trial cluster, deployed, and put back afterwards."""
    before = fresh.commit("before the rollouts")
    path = fresh.model / CLASS
    lines = path.read_text().splitlines()
    # a check that knows one greeting only
    kept = [line for line in lines if "trial_probe.answer" not in line]
    path.write_text("\n".join(kept) + "\n")
    # what the formulas of the site include, so that they can be rendered
    guard = fresh.model / "formulas/saltern"
    guard.mkdir(exist_ok=True)
    shutil.copy(TREE / "formulas/saltern/guard.jinja", guard)
    commit = fresh.commit("any greeting will do")
    answers = gone_through(call, revision=commit)
    assert answers["commit"]["result"], answers
    yield fresh
    fresh.restore(before)
    put_back(journal, ModelSite(Site.of(master.config)), "worktree")


def greet(trial: Trial, word: str) -> str:
    """Commit another greeting; return the commit."""
    path = trial.model / CLASS
    path.write_text(path.read_text().replace("greeting: hello", f"greeting: {word}"))
    return trial.commit(f"greeting {word}")


def greetings(trial: Trial) -> list[str]:
    """What the hosts have."""
    return [(trial.work / node / "base").read_text().strip() for node in NODES]


def test_plan_apply_and_rollback_by_salt_run(
    run: Callable[..., Any], deployed: Trial, journal: Journal, minions: Any
) -> None:
    before = journal.deployed()[CLUSTER]
    old = greetings(deployed)
    after = greet(deployed, "moin")
    done = run("rollout.plan", "change", "revision=HEAD", "predict=True", "data=True")
    assert done.returncode == 0, done.stdout
    hash, plan = done.data["hash"], done.data["plan"]
    stages = {tuple(stage["roles"]): stage["expected"] for stage in plan["stages"]}
    # what each node foresees under the pillar of the revision, and nothing but that has happened
    assert stages == {
        ("trial.base",): {n: ["trial-base-file (file.managed)"] for n in NODES},
        (): {},
    }
    assert greetings(deployed) == old
    assert not journal.pins()
    assert "trial.base" in run("rollout.show", hash).stdout
    done = run("rollout.apply", hash, "approved_by=approver")
    assert done.returncode == 0, done.stdout
    assert "is done" in done.stdout
    assert all("moin" in text for text in greetings(deployed))
    assert journal.deployed()[CLUSTER] == after
    assert not [pin for pin in journal.pins() if pin.node in NODES]
    rollout = done.data["rollout"]
    # what it was made from has moved: the cluster itself
    assert run("rollout.apply", hash).returncode == 2
    assert run("rollout.report", rollout, "format=json").data["approved_by"] == "approver"
    assert run("rollout.report", rollout, "format=json").data["unexpected"] == {}
    done = run("rollout.rollback", rollout)
    assert done.returncode == 0, done.stdout
    assert greetings(deployed) == old
    assert journal.deployed()[CLUSTER] == before
    # what the nodes said of themselves was kept before anything was undone
    rollouts = Rollouts(journal)
    saved = {item.key: item for item in rollouts.saved(rollout)}
    assert set(saved) == {*NODES}
    assert max(item.at for item in saved.values()) < rollouts.get(done.data["rollout"]).begun
    for node in NODES:
        root = minions[node].config["root_dir"]
        assert "not kept" not in saved[node].text
        assert (Path(root) / "var/lib/saltern/evidence" / rollout).stat().st_mode & 0o777 == 0o700


def test_nodes_leave_and_come_back_by_plans_of_their_own(
    run: Callable[..., Any], deployed: Trial, journal: Journal
) -> None:
    stays, leaves = NODES
    file = deployed.model / f"nodes/{CLUSTER}/{leaves}.yml"
    kept = file.read_text()
    folder = "{{ pillar.trial.base.directory }}/{{ grains.id }}"
    clean = f"trial-clean:\n  file.absent:\n    - name: {folder}\n"
    (deployed.model / "formulas/trial/clean.sls").write_text(clean)
    file.unlink()
    without = deployed.commit(f"{leaves} leaves")

    def carried_out(workflow: str) -> None:
        done = run("rollout.plan", workflow, f"nodes={leaves}", "revision=HEAD", "data=True")
        assert done.returncode == 0, done.stdout
        done = run("rollout.apply", done.data["hash"])
        assert done.returncode == 0, done.stdout

    refused = run("rollout.plan", "change", "revision=HEAD")
    assert (refused.returncode, "Plan a scale-in" in refused.stdout) == (2, True)
    carried_out("scale-in")
    assert journal.deployed()[CLUSTER] == without
    assert not (deployed.work / leaves).exists()
    assert (deployed.work / stays / "base").exists()
    file.write_text(kept)
    back = deployed.commit(f"{leaves} comes back")
    carried_out("scale-out")
    assert journal.deployed()[CLUSTER] == back
    assert not journal.pins()
    for name in ("base", "app", "store"):
        assert (deployed.work / leaves / name).exists()
    # the revision before does not know it
    latest = run("rollout.history", "data=True").data["rollouts"][0]["id"]
    refused = run("rollout.rollback", latest)
    assert (refused.returncode, "rollout.plan scale-in" in refused.stdout) == (2, True)


def test_an_orchestration_stops_at_the_canary_and_goes_on_when_it_is_mended(
    run: Callable[..., Any], deployed: Trial, journal: Journal
) -> None:
    path = deployed.model / "classes/service/trial/app.yml"
    path.write_text(path.read_text().replace("app: {", "app: {colour: red, "))
    schema = deployed.model / "formulas/trial/schemas/app.yaml"
    schema.write_text(schema.read_text() + "  colour: {type: string}\n")
    formula = deployed.model / "formulas/trial/app.sls"
    formula.write_text(formula.read_text().replace("password={{", "colour=x {{"))
    after = deployed.commit("colour")
    switch = deployed.switch(f"fail-{NODES[0]}")
    pillar = json.dumps({"options": {"revision": "HEAD"}})
    done = run("state.orch", "change", f"pillar={pillar}")
    assert done.returncode == 1
    (steps,) = done.data["data"].values()
    results = {key.split("_|-")[1]: step["result"] for key, step in steps.items()}
    assert results["change-begin"] is True
    assert results["change-control"] is False
    assert "change-commit" not in results
    assert {pin.node for pin in journal.pins() if pin.revision == after} == {NODES[0]}
    switch.unlink()
    done = run("rollout.retry")
    assert done.returncode == 0, done.stdout
    assert journal.deployed()[CLUSTER] == after


#: what a "host" keeps, below its directory
STATE = "var/lib/trial/data"
DECLARED = """\
      before:
        - {call: trial_probe.once, kwargs: {name: 'before-{short}'}, 'on': trial.base}
      keep: [/var/lib/trial]
      finalize:
        - {call: trial_probe.once, args: [finalized], what: all have it}
      operations:
        count:
          what: count in {name}
          arguments: {name: {type: string, pattern: '^[a-z]+$'}}
          drain: true
          reversible: always
          steps:
            - {call: trial_probe.once, args: ['{name}'], idempotent: false}
            - {apply: true}
            - {check: {file: '${_param:directory}/{node}/{name}'}}
"""


def declare(trial: Trial, journal: Journal, run: Callable[..., Any]) -> None:
    """Give the base role more than states, and make that the cluster's own."""
    path = trial.model / CLASS
    path.write_text(path.read_text() + DECLARED)
    commit = trial.commit("work of its own")
    done = run("rollout.plan", "change", "revision=HEAD", "data=True")
    assert done.returncode == 0, done.stdout
    done = run("rollout.apply", done.data["hash"])
    assert done.returncode == 0, done.stdout
    assert journal.deployed()[CLUSTER] == commit


def test_work_that_a_role_declares_is_listed_planned_and_done(
    run: Callable[..., Any], deployed: Trial, journal: Journal
) -> None:
    declare(deployed, journal, run)
    listed = run("rollout.operations")
    assert "operation=trial.base.count" in listed.stdout
    assert "name: string, pattern ^[a-z]+$" in listed.stdout
    asked = ("rollout.plan", "operation", "operation=trial.base.count")
    refused = run(*asked, "args={name: 7}")
    assert (refused.returncode, "must be string" in refused.stdout) == (2, True)
    done = run(*asked, "args={name: tally}", "data=True")
    assert done.returncode == 0, done.stdout
    assert done.data["plan"]["limits"]["args"] == {"name": "tally"}
    done = run("rollout.apply", done.data["hash"])
    assert done.returncode == 0, done.stdout
    first, second = NODES
    for node in NODES:
        assert (deployed.work / node / "tally").read_text() == "ran\n"
    # each wave is asked about once, on a host that is not in it
    for node, other in ((first, second), (second, first)):
        assert (deployed.work / other / f"before-{node.split('.')[0]}").read_text() == "ran\n"


def test_hosts_get_a_new_image_and_go_back_to_the_former_one(
    run: Callable[..., Any], deployed: Trial, journal: Journal
) -> None:
    declare(deployed, journal, run)
    before = journal.deployed()[CLUSTER]
    for node in NODES:
        kept = deployed.work / node / STATE
        kept.parent.mkdir(parents=True)
        kept.write_text("data")
        (deployed.work / node / "lost").write_text("of the image")
        file = deployed.model / f"nodes/{CLUSTER}/{node}.yml"
        text = file.read_text()
        assert "image: bookworm" in text
        file.write_text(text.replace("image: bookworm", "image: trixie"))
    after = deployed.commit("new images")
    done = run("rollout.plan", "reimage", "revision=HEAD", "data=True")
    assert done.returncode == 0, done.stdout
    done = run("rollout.apply", done.data["hash"])
    assert done.returncode == 0, done.stdout
    assert journal.deployed()[CLUSTER] == after
    assert not journal.pins()
    for node in NODES:
        host = deployed.work / node
        assert (deployed.work / f"{node}.image").read_text() == "trixie"
        assert (host / STATE).read_text() == "data"
        assert not (host / "lost").exists()
        # its roles were applied anew
        assert (host / "base").exists()
    assert [n for n in NODES if (deployed.work / n / "finalized").exists()] == [NODES[0]]
    done = run("rollout.rollback", done.data["rollout"])
    assert done.returncode == 0, done.stdout
    assert journal.deployed()[CLUSTER] == before
    for node in NODES:
        assert (deployed.work / f"{node}.image").read_text() == "bookworm"
        assert (deployed.work / node / STATE).read_text() == "data"
        assert (deployed.work / node / "base").exists()


def _engine(config: Any) -> None:
    """What the master starts beside its daemons."""
    opts = {**copy.deepcopy(dict(config)), "__role": "master"}
    functions, runners = salt.loader.minion_mods(opts), salt.loader.runner(opts)
    engines = salt.loader.engines(opts, functions, runners, {})
    engines["rollouts.start"](interval=0.2, grace=0)


def test_the_master_goes_on_with_a_rollout_whose_runner_was_killed(
    master: Any, minions: Any, run: Callable[..., Any], deployed: Trial, journal: Journal
) -> None:
    del minions
    rollouts = Rollouts(journal)
    after = greet(deployed, "servus")
    hash = run("rollout.plan", "change", "revision=HEAD", "data=True", "quiet=True").data["hash"]
    command = [*master.salt_run_cli().cmdline("rollout.apply", hash)]
    runner = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 90
    while not rollouts.list(state=RUNNING):
        assert time.monotonic() < deadline, "the rollout did not begin"
        assert runner.poll() is None, "the runner ended"
        time.sleep(0.05)
    os.killpg(runner.pid, signal.SIGKILL)
    runner.wait()
    (lost,) = rollouts.interrupted()

    engine = multiprocessing.get_context("fork").Process(target=_engine, args=(master.config,))
    engine.start()
    try:
        while rollouts.get(lost.id).state == RUNNING:
            assert time.monotonic() < deadline + 90, "nobody went on with it"
            time.sleep(0.1)
    finally:
        engine.terminate()
        engine.join()
    assert rollouts.get(lost.id).state == DONE
    assert journal.deployed()[CLUSTER] == after
    assert all("servus" in text for text in greetings(deployed))
