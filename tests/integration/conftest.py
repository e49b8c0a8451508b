"""A real master and two real minions on this machine, with a small cluster in the model.

The daemons are started once per session. What the tests' own site adds is in ``site/``: a model,
its formulas, runner functions and one execution module that only the file server has.
"""

from __future__ import annotations

import copy
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import salt.runner
import yaml

from saltern.adapters import modelsite
from saltern.adapters.gpg import Gpg
from saltern.adapters.master import Site
from saltern.model import Inventory, secrets
from tests.support import TREE
from tests.support.checkout import git

SITE = Path(__file__).with_name("site")
CLUSTER = "trial"
NODES = ("app01.trial.test", "app02.trial.test")

#: the daemons' own debug log would be most of their work
QUIET = {"log_level_logfile": "warning"}


class Trial:
    """Where the session's site lies, and how its switches are set."""

    def __init__(self, root: Path, port: int) -> None:
        self.root = root
        self.model = root / "model"
        self.work = root / "work"
        self.artifacts = root / "artifacts"
        self.gpg_home = root / "gpg"
        self.store = root / "store"
        self.journal_file = root / "journal" / "journal.db"
        self.port = port
        #: a directory of plugins that is asked before the checkout's
        self.plugins = root / "plugins"

    def build(self) -> None:
        """Copy the model, add the nodes of this session, generate the secrets."""
        for path in (self.work, self.artifacts, self.plugins / "_pillar"):
            path.mkdir(parents=True)
        shutil.copytree(SITE / "model", self.model)
        # beside the classes, where the linter looks for them
        shutil.copytree(SITE / "formulas", self.model / "formulas")
        nodes = self.model / "nodes" / CLUSTER
        nodes.mkdir(parents=True)
        for number, node in enumerate(NODES, start=1):
            name = node.split(".")[0]
            host = {"name": name, "fqdn": node, "address": f"127.0.0.{number}"}
            host["image"] = "bookworm"
            param = {"directory": str(self.work), "port": self.port}
            data = {
                "classes": [f"cluster.{CLUSTER}"],
                "parameters": {"host": host, "_param": param},
            }
            (nodes / f"{node}.yml").write_text(yaml.safe_dump(data))
        gpg = Gpg(self.gpg_home)
        key = gpg.create_key("trial master")
        secrets.init(Inventory(self.model), CLUSTER, lambda text: gpg.encrypt(text, [key]))

        git(self.model, "init", "-q", "-b", "main")
        self.commit("the trial cluster")

    def commit(self, subject: str) -> str:
        """Commit the tree as it is; return the commit."""
        git(self.model, "add", "-A")
        git(self.model, "commit", "-q", "--allow-empty", "-m", subject)
        return git(self.model, "rev-parse", "HEAD")

    def restore(self, commit: str) -> None:
        """The tree as it was at a commit."""
        git(self.model, "checkout", "-q", commit, "--", ".")
        for name in git(self.model, "diff", "--name-only", commit).splitlines():
            (self.model / name).unlink()
        self.commit("as before")

    def serving(self) -> dict[str, Any]:
        """Settings of the ext_pillar and of the top."""
        return {
            "store": str(self.store),
            "journal": f"sqlite:///{self.journal_file}",
            "gpg_home": str(self.gpg_home),
        }

    def master_options(self) -> dict[str, Any]:
        """What of a master's configuration is about the model; its tree is what it deploys."""
        return {
            "ext_pillar": [{"saltern_model": self.serving()}],
            "master_tops": {"saltern_model": self.serving()},
            # as in etc/master.d
            "minion_data_cache": False,
            "saltern": {
                "cluster": CLUSTER,
                "model": str(self.model),
                "artifacts": str(self.artifacts),
                "store": str(self.store),
                "journal": f"sqlite:///{self.journal_file}",
                "revision": "worktree",
                "provision": {
                    "command": [sys.executable, str(SITE / "provisioner.py"), str(self.work)]
                },
            },
        }

    def reset(self) -> None:
        """As before the first deployment."""
        shutil.rmtree(self.work)
        self.work.mkdir()

    def switch(self, name: str) -> Path:
        """Set a switch that a formula or a runner of the site looks at."""
        path = self.work / name
        path.touch()
        return path


@pytest.fixture(scope="session")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    """The site, with a port that something listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        site = Trial(tmp_path_factory.mktemp("trial"), listener.getsockname()[1])
        site.build()
        yield site
    Gpg(site.gpg_home).stop_agent()


@pytest.fixture(scope="session")
def salt_factories_config() -> Iterator[dict[str, Any]]:
    """A root of our own, short enough for the names of sockets; time for slow machines."""
    with tempfile.TemporaryDirectory(prefix="saltern-") as root:
        yield {"root_dir": Path(root), "start_timeout": 120}


@pytest.fixture(scope="session")
def master(salt_factories: Any, trial: Trial) -> Iterator[Any]:
    """The master; loads the suite from the checkout."""
    fileserver = trial.root / "fileserver"
    fileserver.mkdir()
    (fileserver / "_modules").mkdir()
    for path in (*TREE.glob("_modules/*.py"), *SITE.glob("fileserver/_modules/*.py")):
        if path.name != "__init__.py":
            (fileserver / "_modules" / path.name).symlink_to(path)
    for kind in ("_states", "_executors"):
        (fileserver / kind).symlink_to(TREE / kind)
    factory = salt_factories.salt_master_daemon(
        "trial_master",
        overrides={
            # the last one is asked first
            "module_dirs": [str(TREE), str(SITE), str(trial.plugins)],
            "file_roots": {
                "base": [
                    str(fileserver),
                    str(trial.model / "formulas"),
                    str(TREE / "orchestrate"),
                    str(TREE / "formulas"),
                ]
            },
            **trial.master_options(),
            "trial_directory": str(trial.work),
            "timeout": 15,
            **QUIET,
        },
    )
    # what the unit of the master does before it starts
    modelsite.prepare(Site.of(factory.config), "tests", trial.serving())
    with factory.started():
        yield factory


@pytest.fixture(scope="session")
def minions(master: Any) -> Iterator[dict[str, Any]]:
    """The minions by id; they have nothing of this suite but what the master gives them."""
    factories = {node: master.salt_minion_daemon(node, overrides=QUIET) for node in NODES}
    first, second = factories.values()
    with first.started(), second.started():
        yield factories


@pytest.fixture(scope="session")
def stranger(master: Any, minions: Any) -> Iterator[Any]:
    """A minion with an accepted key that the model does not know."""
    del minions
    factory = master.salt_minion_daemon("stranger.trial.test", overrides=QUIET)
    with factory.started():
        yield factory


@pytest.fixture(scope="session")
def call(master: Any, minions: Any) -> Callable[..., Any]:
    """Call a runner function in this process: quicker than ``salt-run``, and the same otherwise."""
    del minions

    def runner(function: str, **kwargs: Any) -> Any:
        with salt.runner.RunnerClient(copy.deepcopy(dict(master.config))) as client:
            return client.cmd(function, kwarg=kwargs, print_event=False)

    return runner


@pytest.fixture
def run(master: Any, minions: Any) -> Any:
    """Run ``salt-run``."""
    del minions
    return master.salt_run_cli(timeout=300).run


@pytest.fixture
def fresh(trial: Trial) -> Iterator[Trial]:
    """The site before the first deployment."""
    trial.reset()
    yield trial
    trial.reset()
