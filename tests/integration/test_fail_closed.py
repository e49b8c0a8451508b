"""Whatever breaks: the minion keeps the pillar it has, states refuse, and the cure cures.

One master with store and journal, and its minions; each test breaks one thing and mends it.
"""

from __future__ import annotations

import contextlib
import copy
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import salt.channel.client
import salt.exceptions
import salt.minion
import yaml

from saltern.adapters.gpg import Gpg
from saltern.adapters.master import Site
from saltern.adapters.modelsite import ModelSite
from saltern.adapters.salt_bus import SaltBus

from .conftest import CLUSTER, NODES, Trial

NODE, OTHER = NODES
APPLY = "trial.base"


class Watched:
    """One minion and its master, as an operator sees them."""

    def __init__(self, trial: Trial, master: Any, call: Callable[..., Any]) -> None:
        self.trial, self.master, self.runner = trial, master, call
        self.bus = SaltBus(master.config)

    def ask(self, fun: str, *args: Any, node: str = NODE, **kwargs: Any) -> Any:
        return self.bus.call([node], fun, args, kwargs, timeout=60)[node]

    def held(self, key: str = "__reclass__", node: str = NODE) -> Any:
        """What the minion has in memory."""
        return self.ask("pillar.raw", key, node=node).data

    def refresh(self, node: str = NODE) -> None:
        assert self.ask("saltutil.refresh_pillar", wait=True, node=node).ok

    def restart(self) -> None:
        """Restart the master, and wait for the minions: what they return on the way may be lost."""
        self.master.terminate()
        self.master.start()
        answers = 0
        for _ in range(12):
            found = self.bus.call(NODES, "test.ping", timeout=10)
            answers = answers + 1 if all(one.ok for one in found.values()) else 0
            if answers == 2:
                return
        raise AssertionError("the minions did not come back to the restarted master")

    def why(self, node: str = NODE) -> str:
        """What the master tells who asks why a minion gets no pillar; empty when it gets one."""
        told = self.runner("model.status", node=node)
        return "" if told["result"] else str(told["comment"])

    @property
    def model(self) -> ModelSite:
        return ModelSite(Site.of(self.master.config))

    def deployed(self) -> str:
        return self.model.journal.deployed()[CLUSTER]

    def refuses(self, sentence: str) -> None:
        """It gets no pillar, with a sentence; keeps the one it has; and applies no state."""
        before = self.held()
        assert before["nodename"] == NODE
        assert sentence in self.why()
        self.refresh()
        assert self.held() == before
        applied = self.ask("state.apply", APPLY)
        assert not applied.ok
        assert applied.sentence == f"{NODE}: the master gives it no pillar, so no state was run."

    def well(self) -> None:
        """The minion gets its pillar and applies states."""
        assert self.why() == ""
        self.refresh()
        assert self.held()["revision"] == self.model.journal.served(NODE)
        applied = self.ask("state.apply", APPLY)
        assert applied.ok, applied


@pytest.fixture
def watched(trial: Trial, master: Any, minions: Any, call: Callable[..., Any]) -> Watched:
    del minions
    built = Watched(trial, master, call)
    assert built.why() == ""
    return built


# -- the store ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (("0" * 12, "{options}"), "by another version of the engine"),
        (("{engine}", "0" * 12), "with other options"),
        (None, "is not compiled"),
    ],
    ids=["engine", "options", "gone"],
)
def test_a_revision_that_cannot_be_served(
    watched: Watched, tmp_path: Path, names: tuple[str, str] | None, sentence: str
) -> None:
    top = watched.trial.store / "revisions" / watched.deployed()
    (folder,) = top.iterdir()
    engine, options = folder.name.split("-")
    if names is None:
        target = tmp_path / "away"
    else:
        target = top / "-".join(names).format(engine=engine, options=options)
    folder.rename(target)
    try:
        watched.refuses(sentence)
        assert "saltern model compile" in watched.why()
    finally:
        target.rename(folder)
    watched.well()


def test_a_truncated_file_of_the_store(watched: Watched) -> None:
    packs = sorted((watched.trial.store / "packs").glob("*.pack"))
    kept = {pack: pack.read_bytes() for pack in packs}
    mode = packs[0].stat().st_mode
    try:
        for pack, content in kept.items():
            pack.chmod(0o600)
            os.truncate(pack, len(content) // 3)
        watched.refuses("is damaged")
    finally:
        for pack, content in kept.items():
            pack.write_bytes(content)
            pack.chmod(mode)
    watched.well()


# -- the journal -------------------------------------------------------------------------


def test_a_locked_database(watched: Watched, tmp_path: Path) -> None:
    # readers never wait for a writer: not while it writes, not when it hangs
    path = watched.trial.journal_file
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        watched.well()
        writer.execute("ROLLBACK")
    # a journal that somebody restored without write-ahead log, and holds
    aside = tmp_path / "journal.db"
    with contextlib.closing(sqlite3.connect(path)) as source:
        source.execute("VACUUM INTO ?", (str(aside),))
    restored = path.with_name("restored.db")
    shutil.copy(aside, restored)
    for side in ("-wal", "-shm"):
        Path(f"{path}{side}").unlink(missing_ok=True)
    restored.replace(path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        watched.refuses("the journal is locked by another process")
        stopped = watched.runner("deploy.preflight", test=True)
        assert stopped["retcode"] == 2
        assert "the journal is locked" in stopped["comment"]
        holder.execute("ROLLBACK")
    watched.well()


def test_no_database(watched: Watched) -> None:
    path = watched.trial.journal_file
    away = path.with_name("away.db")
    path.rename(away)
    try:
        watched.refuses("the journal does not exist. Run `saltern master prepare`")
        assert not path.exists()
    finally:
        away.rename(path)
    watched.well()


# -- secrets -----------------------------------------------------------------------------


def test_a_missing_secret_key(watched: Watched) -> None:
    trial, gpg = watched.trial, Gpg(watched.trial.gpg_home)
    file = trial.model / f"classes/cluster/{CLUSTER}/secrets.yml"
    kept, before = file.read_text(), watched.deployed()
    data = yaml.safe_load(kept)
    # ciphertext that no worker has opened yet
    fresh = gpg.encrypt("opened by nobody", gpg.secret_keys())
    data["parameters"]["_secret"]["trial_app_password"] = fresh
    keys, away = gpg.home / "private-keys-v1.d", gpg.home / "away"
    gpg.stop_agent()
    keys.rename(away)
    try:
        file.write_text(yaml.safe_dump(data))
        stopped = watched.runner("deploy.preflight")
        # found before any minion is touched, and nothing is moved
        assert stopped["retcode"] == 2
        assert f"node {NODE}, key trial:app:password: cannot decrypt" in stopped["comment"]
        assert watched.deployed() == before
        # served all the same: by hand, past the gate
        watched.model.deploy(watched.model.find("worktree"), CLUSTER, "tests", "by hand")
        watched.refuses("trial:app:password: cannot decrypt a secret")
        stage = watched.runner("deploy.stage", name="foundation", test=True)
        assert stage["retcode"] == 1
        assert f"node {NODE}, key trial:app:password: cannot decrypt" in stage["comment"], stage
        assert "BEGIN PGP" not in watched.why()
    finally:
        gpg.stop_agent()
        if keys.is_dir():
            shutil.rmtree(keys)
        away.rename(keys)
    watched.well()
    assert watched.held("trial")["app"]["password"] == "opened by nobody"
    file.write_text(kept)
    watched.model.deploy(watched.model.find(before), CLUSTER, "tests", "as before")
    watched.well()


# -- who asks ----------------------------------------------------------------------------


def test_an_unknown_node(watched: Watched, stranger: Any) -> None:
    """Nothing vouches for it: an error in place of a pillar, until a revision has it."""
    node, trial = stranger.id, watched.trial
    before = watched.deployed()
    sentence = f"node {node} has no entry in the model"
    assert sentence in watched.why(node)
    assert watched.held("_errors", node)
    assert not watched.held("trial", node)
    applied = watched.ask("state.apply", APPLY, node=node)
    assert not applied.ok
    assert sentence in applied.sentence
    file = trial.model / f"nodes/{CLUSTER}/{node}.yml"
    data = yaml.safe_load((trial.model / f"nodes/{CLUSTER}/{NODE}.yml").read_text())
    data["parameters"]["host"] = {"name": "stranger", "fqdn": node, "address": "127.0.0.3"}
    file.write_text(yaml.safe_dump(data))
    try:
        watched.model.deploy(watched.model.find("worktree"), CLUSTER, "tests", "mended")
        watched.refresh(node)
        assert watched.held(node=node)["nodename"] == node
        assert watched.ask("state.apply", APPLY, node=node).ok
    finally:
        file.unlink()
        watched.model.deploy(watched.model.find(before), CLUSTER, "tests", "as before")
        watched.refresh(node)
    # what left the model is unknown again
    assert sentence in watched.why(node)
    watched.well()


@contextlib.contextmanager
def channel(config: Any, **changes: Any) -> Iterator[Any]:
    """A request channel as a minion with this configuration opens one."""
    opts = copy.deepcopy(dict(config))
    opts = {**opts, **salt.minion.resolve_dns(opts), "auth_timeout": 3, "auth_tries": 1, **changes}
    with salt.channel.client.ReqChannel.factory(opts) as opened:
        yield opened


def test_a_path_in_a_minion_id(watched: Watched, minions: Any) -> None:
    """It ends with the request for a key; and whoever got past that would be served nothing."""
    name = f"../{NODE}"
    load = {"cmd": "_pillar", "id": name, "grains": {}, "saltenv": "base", "ver": "2"}
    with (
        channel(minions[NODE].config, id=name) as opened,
        pytest.raises((salt.exceptions.SaltException, SystemExit)),
    ):
        opened.crypted_transfer_decode_dictentry(load, dictkey="pillar", tries=1, timeout=3)
    for name in (f"../{NODE}", f"../../nodes/{CLUSTER}/{NODE}", f"{NODE}/../{OTHER}"):
        shown = watched.runner("pillar.show_pillar", minion=name)
        assert list(shown) == ["_errors"]
        assert f"node {name} has no entry in the model" in shown["_errors"][0]
    watched.well()


def test_the_top_of_another_node(watched: Watched, minions: Any) -> None:
    roles = {"base": ["trial.base", "trial.store", "trial.app"]}
    failed = {"base": ["__saltern_model_failed__"]}
    with channel(minions[OTHER].config) as opened:
        load = {"cmd": "_pillar", "id": OTHER, "grains": {}, "saltenv": "base", "ver": "2"}
        pillar = opened.crypted_transfer_decode_dictentry(load, dictkey="pillar")
        sentinel = pillar["__reclass__"]
        mine = {"id": OTHER, "grains": {}, "pillar": pillar}

        def tops(asked: dict[str, Any]) -> Any:
            return opened.send({"cmd": "_master_tops", "id": OTHER, "opts": asked})

        assert tops(mine) == roles
        for change in (
            # another id, with the pillar of its own; with a forged one; with none
            {"id": NODE},
            {"id": NODE, "pillar": {"__reclass__": {**sentinel, "nodename": NODE}}},
            {"id": NODE, "pillar": {}},
            {"pillar": {"__reclass__": {**sentinel, "proof": "0" * 64}}},
            {"id": None},
        ):
            assert tops({**mine, **change}) == failed, change
    # the minion itself: a pillar is in its memory when it asks
    assert watched.ask("state.show_top", node=OTHER).data == roles
    assert watched.ask("state.highstate", test=True, node=OTHER).ok
    watched.well()


# -- the plugin and the master -----------------------------------------------------------


def test_a_plugin_that_cannot_be_imported(watched: Watched) -> None:
    """Salt serves a pillar without our data then, so the formulas refuse."""
    broken = watched.trial.plugins / "_pillar" / "saltern_model.py"
    broken.write_text("import no_such_library\n")
    try:
        applied = watched.ask("state.apply", APPLY)
        assert not applied.ok
        assert f"the pillar of {NODE} is not the model's" in applied.sentence, applied
        assert f"salt-run model.status node={NODE}" in applied.sentence
        assert not watched.ask("state.highstate", test=True).ok
        watched.refresh()
        assert not watched.held()
        # nor with the pillar that it has in memory now
        assert not watched.ask("state.apply", APPLY).ok
    finally:
        broken.unlink()
        shutil.rmtree(broken.parent / "__pycache__", ignore_errors=True)
    watched.well()


def test_a_pillar_cache(watched: Watched) -> None:
    """Refused before the start; and a master that was started past that serves nothing."""
    folder = Path(watched.master.config_dir)
    program = str(Path(sys.executable).with_name("saltern"))
    check = [program, "master", "check", "--config", str(folder)]
    fit = subprocess.run(check, capture_output=True, text=True, check=False)
    assert (fit.returncode, fit.stdout) == (0, ""), fit
    fragment = folder / "master.d" / "99-cache.conf"
    fragment.parent.mkdir(exist_ok=True)
    fragment.write_text("pillar_cache: True\n")
    before = watched.held()
    try:
        told = subprocess.run(check, capture_output=True, text=True, check=False)
        assert told.returncode == 2
        assert "pillar_cache: True: " in told.stdout
        assert "Remove it, or set it to False." in told.stdout
        watched.restart()
        watched.refresh()
        assert watched.held() == before
        applied = watched.ask("state.apply", APPLY)
        assert not applied.ok
        assert applied.sentence == f"{NODE}: the master gives it no pillar, so no state was run."
        log = Path(watched.master.config["log_file"]).read_text()
        assert "pillar_cache must be False. Remove it and restart salt-master." in log
    finally:
        fragment.unlink()
        watched.restart()
    watched.well()
