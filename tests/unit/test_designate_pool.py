"""Pools are written when they differ, and only then; designate-central gets time to come up."""

from __future__ import annotations

from typing import Any

import pytest
from salt.exceptions import CommandExecutionError

from saltern.states import designate_pool

FILE = "/etc/designate/pools.yaml"


class Fake:
    """Designate: its pools differ until one of the ``tries`` to write them succeeds."""

    def __init__(self, pending: list[str], tries: int = 1, others: tuple[str, ...] = ()) -> None:
        self.pending, self.tries, self.others = pending, tries, list(others)
        self.written = 0

    def compare(self, file: str, venv: str) -> dict[str, list[str]]:
        return {"pending": list(self.pending), "others": self.others}

    def update(self, file: str, venv: str) -> bool:
        self.written += 1
        if self.written < self.tries:
            raise CommandExecutionError("No response received from designate-central")
        self.pending.clear()
        return True


def run(monkeypatch: pytest.MonkeyPatch, fake: Fake, *, test: bool = False) -> dict[str, Any]:
    functions = {
        "designate_pool.compare": fake.compare,
        "designate_pool.update": fake.update,
        "file.file_exists": lambda path: True,
    }
    monkeypatch.setattr(designate_pool, "__salt__", functions, raising=False)
    monkeypatch.setattr(designate_pool, "__opts__", {"test": test}, raising=False)
    monkeypatch.setattr(designate_pool.time, "sleep", lambda seconds: None)
    return designate_pool.synced(FILE)


def test_pools_that_are_as_wanted_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake([], others=("old",))
    ret = run(monkeypatch, fake)
    assert (ret["result"], ret["changes"], fake.written) == (True, {}, 0)
    assert "others are left alone: old" in ret["comment"]


def test_what_differs_is_written_and_read_back(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake(["default"], tries=3)
    ret = run(monkeypatch, fake)
    assert (ret["result"], fake.written) == (True, 3)
    assert ret["changes"]["pools"]["new"] == "default"


def test_a_prediction_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake(["default"])
    ret = run(monkeypatch, fake, test=True)
    assert (ret["result"], fake.written) == (None, 0)
    assert ret["changes"]


def test_a_central_that_never_comes_fails_in_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake(["default"], tries=99)
    ret = run(monkeypatch, fake)
    assert ret["result"] is False
    assert ret["comment"] == "No response received from designate-central"
    assert fake.written == designate_pool.ATTEMPTS
