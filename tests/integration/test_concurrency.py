"""A hundred minions ask at once while a revision is compiled and pins move.

The requests go through the real master's request channel and its workers, each as another accepted
minion id (all with one key pair: making a hundred would take longer than the rest).
"""

from __future__ import annotations

import copy
import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import salt.crypt
import salt.minion
import salt.pillar
import yaml

from saltern.adapters.master import Site
from saltern.adapters.modelsite import ModelSite

from .conftest import NODES, Trial

COUNT, ROUNDS = 100, 2
MANY = "many"
IDS = [f"n{number:03}.{MANY}.test" for number in range(COUNT)]


class Stamped:
    """A cluster of a hundred nodes; a revision's number is all over what its nodes are served."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        self.place = trial.model / "classes/cluster" / MANY
        self.nodes = trial.model / "nodes" / MANY

    def write(self, number: int) -> str:
        """Commit revision ``number``; return its id."""
        for folder in (self.place, self.nodes):
            folder.mkdir(parents=True, exist_ok=True)
        param = {"cluster_name": MANY, "cluster_domain": f"{MANY}.test", "stamp": number}
        data = {"early": "${_param:stamp}", "texts": [f"{number}-{n}" for n in range(300)]}
        files = {
            self.place / "init.yml": {"parameters": {"_param": param, "stamped": data}},
            self.place / "late.yml": {
                "classes": [f"cluster.{MANY}"],
                "parameters": {
                    "stamped": {"late": number},
                },
                "applications": ["stamped.all"],
            },
        }
        for count, node in enumerate(IDS):
            host = {"name": node[:4], "address": f"10.{number}.0.{count + 1}"}
            files[self.nodes / f"{node}.yml"] = {
                "classes": [f"cluster.{MANY}.late"],
                # published: joined from all nodes, and handed out to all
                "parameters": {"host": host, "publish": {"stamped.all": {node[:4]: number}}},
            }
        for path, content in files.items():
            path.write_text(yaml.safe_dump(content))
        return self.trial.commit(f"stamp {number}")

    @staticmethod
    def read(pillar: dict[str, Any], node: str) -> set[int]:
        """Every number in a pillar; more than one would be a mixture."""
        stamped = pillar["stamped"]
        assert pillar["__reclass__"]["nodename"] == node
        assert len(stamped["texts"]) == 300
        assert len(pillar["topology"]["nodes"]) == COUNT
        assert len(stamped["all"]) == COUNT
        numbers = {stamped["early"], stamped["late"], pillar["_param"]["stamp"]}
        numbers |= set(stamped["all"].values())
        numbers |= {int(text.split("-")[0]) for text in stamped["texts"]}
        numbers |= {int(n["address"].split(".")[1]) for n in pillar["topology"]["nodes"].values()}
        return numbers | {int(pillar["host"]["address"].split(".")[1])}


@dataclass
class Answer:
    """One request: when it was sent and answered, and with what."""

    node: str
    begin: float
    end: float
    revision: str
    numbers: set[int]


@dataclass
class Move:
    """One change of what a node is served; it happened between two moments."""

    begin: float
    end: float
    nodes: set[str]
    revision: str


@dataclass
class Log:
    moves: list[Move] = field(default_factory=list)

    def may(self, answer: Answer) -> set[str]:
        """The revisions that were the node's at some moment of the request."""
        mine = [move for move in self.moves if answer.node in move.nodes]
        done = [move for move in mine if move.end <= answer.begin]
        late = [move for move in mine if move.end > answer.begin and move.begin < answer.end]
        return {move.revision for move in [*done[-1:], *late]}


@pytest.fixture
def accepted(
    master: Any, minions: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Any]]:
    """Options of a minion whose key the master has accepted under every id."""
    folder = tmp_path_factory.mktemp("pki")
    opts = copy.deepcopy(dict(minions[NODES[0]].config))
    opts.update(salt.minion.resolve_dns(opts))
    opts["pki_dir"] = str(folder)
    source = Path(minions[NODES[0]].config["pki_dir"])
    for name in ("minion.pem", "minion.pub", "minion_master.pub"):
        (folder / name).write_bytes((source / name).read_bytes())
    keys = Path(master.config["pki_dir"]) / "minions"
    public = salt.crypt.clean_key((folder / "minion.pub").read_text())
    for node in IDS:
        (keys / node).write_text(public)
    yield opts
    for node in IDS:
        (keys / node).unlink()


@pytest.fixture
def model(trial: Trial, master: Any) -> Iterator[ModelSite]:
    """The site; afterwards its tree has no second cluster again."""
    before = trial.commit("before")
    site = ModelSite(Site.of(master.config))
    yield site
    trial.restore(before)


def test_each_gets_one_whole_revision_the_one_it_is_pinned_to(
    trial: Trial, master: Any, accepted: dict[str, Any], model: ModelSite
) -> None:
    stamped, log = Stamped(trial), Log()

    def moved(nodes: list[str], revision: str, change: Any) -> None:
        begin = time.monotonic()
        change()
        log.moves.append(Move(begin, time.monotonic(), set(nodes), revision))

    def deploy(revision: str) -> None:
        held = {pin.node for pin in model.journal.pins(MANY)}
        found = model.find(revision)
        free = [node for node in IDS if node not in held]
        moved(free, revision, lambda: model.deploy(found, MANY, "tests", "moved"))

    def pin(nodes: list[str], revision: str) -> None:
        moved(nodes, revision, lambda: model.pin(nodes, revision, "tests", "pinned"))

    def unpin(nodes: list[str]) -> None:
        now = model.journal.deployed()[MANY]
        moved(nodes, now, lambda: model.journal.unpin(nodes, "tests", "unpinned"))

    ids = [stamped.write(0)]
    deploy(ids[0])
    ids += [stamped.write(1)]
    model.find(ids[1])
    ids += [stamped.write(2)]
    assert not model.store.has(ids[2])
    half, third = IDS[::2], IDS[::3]
    together = threading.Barrier(COUNT + 1)

    def ask(node: str) -> list[Answer]:
        opts = copy.deepcopy(accepted)
        opts["id"] = node
        together.wait(60)
        answers = []
        for _ in range(ROUNDS):
            request = salt.pillar.RemotePillar(opts, {"id": node}, node, "base")
            try:
                begin = time.monotonic()
                pillar = request.compile_pillar()
                end = time.monotonic()
            finally:
                request.destroy()
            revision = pillar["__reclass__"]["revision"]
            answers.append(Answer(node, begin, end, revision, stamped.read(pillar, node)))
        return answers

    command = [str(Path(sys.executable).with_name("saltern")), "master", "compile"]
    command += ["--config", str(master.config_dir), ids[2]]
    with ThreadPoolExecutor(COUNT) as pool:
        asked = [pool.submit(ask, node) for node in IDS]
        together.wait(60)
        # another process compiles while pins move here
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as compiling:
            while compiling.poll() is None:
                pin(half, ids[1])
                time.sleep(0.2)
                deploy(ids[1])
                pin(third, ids[0])
                time.sleep(0.2)
                unpin(half)
                deploy(ids[0])
            printed = compiling.stdout.read() if compiling.stdout else ""
        assert compiling.returncode == 0, printed
        while not all(future.done() for future in asked):
            pin(half, ids[2])
            deploy(ids[2])
            time.sleep(0.2)
            unpin(IDS)
            deploy(ids[1])
        answers = [answer for future in asked for answer in future.result()]

    assert len(answers) == COUNT * ROUNDS
    numbers = {revision: number for number, revision in enumerate(ids)}
    for answer in answers:
        assert answer.numbers == {numbers[answer.revision]}, answer
        assert answer.revision in log.may(answer), answer
    # it was a race: more than one revision was served, and most answers overlapped others
    assert len({answer.revision for answer in answers}) > 1
    spans = sorted((answer.begin, answer.end) for answer in answers)
    overlapping = sum(1 for one, other in itertools.pairwise(spans) if other[0] < one[1])
    assert overlapping > COUNT
    assert len(log.moves) > 5
