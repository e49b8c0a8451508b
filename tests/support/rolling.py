"""A master without daemons: a model in git, a journal on the disk, a bus and nodes that replay."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from saltern.adapters import modelsite
from saltern.adapters.master import Site
from saltern.adapters.modelsite import ModelSite
from saltern.adapters.rolling import Rolling
from saltern.adapters.rollouts import Rollouts
from saltern.rollout.ports import Call, Job, Return
from saltern.rollout.returns import judge
from tests.model.trees import write_tree
from tests.support.checkout import git
from tests.support.fakes import FakeBus, FakeClock, FakeEvents

CLUSTER = "shop"
WEBS = ("web01.shop.test", "web02.shop.test", "web03.shop.test")
DB = "db01.shop.test"
GUARD = ""

_STATES = """web-conf:
  file.managed:
    - name: /etc/web.conf
    - contents: port={{ pillar.web.server.port }}

web-service:
  service.running:
    - name: web
    - watch:
      - file: web-conf
"""
_SCHEMA = """type: object
additionalProperties: true
"""


def model_files() -> dict[str, Any]:
    """Three web servers that are drained in turn, and a database."""
    health = [{"unit": "web"}, {"port": 80}]
    web = {
        "stage": "control",
        "after": ["db.server"],
        "health": health,
        "max_unavailable": 1,
        "quorum": "majority",
        "drain": [
            {
                "call": "proxy.drain",
                "on": "db.server",
                "args": ["{short}"],
                "undo": {"call": "proxy.ready", "args": ["{short}"]},
                "what": "{short} drained",
            }
        ],
    }
    return {
        "classes/service/db/server.yml": {
            "applications": ["db.server"],
            "parameters": {
                "db": {"server": {"size": 1}},
                "lifecycle": {
                    "db.server": {
                        "stage": "infrastructure",
                        "health": [{"unit": "db"}],
                        "stateful": True,
                    }
                },
            },
        },
        "classes/service/web/server.yml": {
            "applications": ["web.server"],
            "parameters": {
                "web": {"server": {"port": 80}},
                "lifecycle": {"web.server": web},
            },
        },
        f"classes/cluster/{CLUSTER}/init.yml": {
            "parameters": {"_param": {"cluster_name": CLUSTER, "cluster_domain": "shop.test"}}
        },
        **{
            f"classes/cluster/{CLUSTER}/{name}.yml": {
                "classes": [f"cluster.{CLUSTER}", f"service.{name}.server"]
            }
            for name in ("db", "web")
        },
        **{
            f"nodes/{CLUSTER}/{node}.yml": {
                "classes": [f"cluster.{CLUSTER}.{node[:-12]}"],
                "parameters": {
                    "host": {
                        "name": node.split(".")[0],
                        "fqdn": node,
                        "address": f"10.0.0.{number}",
                    }
                },
            }
            for number, node in enumerate((DB, *WEBS), start=10)
        },
        "formulas/web/server.sls": _STATES,
        "formulas/db/server.sls": "db-there:\n  test.nop: []\n",
        "formulas/web/schemas/server.yaml": _SCHEMA,
        "formulas/db/schemas/server.yaml": _SCHEMA,
    }


@dataclass
class FleetBus(FakeBus):
    """A fake bus that can be called at once, too."""

    #: role-less answers to health.check that are not content: node -> sentence
    unwell: dict[str, str] = field(default_factory=dict)

    def call(
        self,
        nodes: Sequence[str],
        fun: str,
        arg: Sequence[Any] = (),
        kwarg: Mapping[str, Any] | None = None,
        timeout: float = 60,
    ) -> dict[str, Return]:
        return self.call_all([Call(tuple(nodes), fun, tuple(arg), dict(kwarg or {}), timeout)])[0]

    def call_all(self, calls: Sequence[Call]) -> list[dict[str, Return]]:
        jobs = [Job(self.new_jid(), call) for call in calls if call.nodes]
        for job in jobs:
            self.publish(job)
        return self.collect(jobs)

    def collect(self, jobs: Sequence[Job], tick: Any = None) -> list[dict[str, Return]]:
        found = super().collect(jobs, tick)
        for job, answers in zip(jobs, found, strict=True):
            for node, answer in answers.items():
                if job.call.fun == "health.check" and node in self.unwell and answer.ok:
                    data = copy.deepcopy(answer.data)
                    for item in data[:1]:
                        item |= {"ok": False, "verdict": "fail", "code": "unit-inactive"}
                        item["sentence"] = self.unwell[node]
                    answers[node] = judge(node, data, 0, job.jid)
        return found


class Master:
    """What one test has.

    :param root: an empty directory
    """

    def __init__(self, root: Path) -> None:
        self.root, self.model = root, root / "model"
        self.content = model_files()
        self.served = root / "served"
        write_tree(self.served, {"top.sls": "{}\n"})
        self.plugin = {
            "store": str(root / "store"),
            "journal": f"sqlite:///{root}/journal/journal.db",
        }
        block = {"model": str(self.model), "artifacts": str(root / "artifacts"), **self.plugin}
        self.opts: dict[str, Any] = {
            "ext_pillar": [{"saltern_model": dict(self.plugin)}],
            "master_tops": {"saltern_model": dict(self.plugin)},
            "saltern": {**block, "cluster": CLUSTER},
            "file_roots": {"base": [str(self.served)]},
            "fileserver_backend": ["roots"],
            "user": "root",
        }
        self.bus = FleetBus()
        self.clock = FakeClock()
        self.events = FakeEvents()
        self.called: list[tuple[str, Mapping[str, Any]]] = []
        modelsite.prepare(Site.of(self.opts), "tests", modelsite.pillar_settings(self.opts))
        self.model.mkdir()
        git(self.model, "init", "-q", "-b", "main")
        self.commit(80)
        ModelSite(Site.of(self.opts)).compile("HEAD", "tests", "the first one")

    def commit(self, port: int, **server: Any) -> str:
        """Commit another port of the web servers; return the commit."""
        data = self.content["classes/service/web/server.yml"]
        data["parameters"]["web"]["server"] = {"port": port, **server}
        write_tree(self.model, self.content)
        git(self.model, "add", "-A")
        git(self.model, "commit", "-q", "--allow-empty", "-m", f"port {port}")
        return git(self.model, "rev-parse", "HEAD")

    def rolling(self, by: str = "operator") -> Rolling:
        """The rollouts as another process would see them."""
        site = Site.of(self.opts)
        model = ModelSite(site)
        return Rolling(
            site=site,
            opts=self.opts,
            model=model,
            rollouts=Rollouts(model.journal, model.find, now=self.clock.now),
            bus=self.bus,
            events=self.events,
            clock=self.clock,
            runners=self._run,
            by=by,
        )

    def _run(self, function: str, kwarg: Mapping[str, Any]) -> Mapping[str, Any]:
        self.called.append((function, kwarg))
        return {"result": True, "comment": "formed.", "changes": {}}

    @property
    def pins(self) -> dict[str, str]:
        """Node to the revision that it is pinned to."""
        return {pin.node: pin.revision for pin in self.rolling().model.journal.pins()}

    @property
    def deployed(self) -> str:
        """The cluster's deployed revision."""
        return self.rolling().model.journal.deployed()[CLUSTER]
