"""What all states that keep something do alike: predict, change once, read back, show no secret."""

from __future__ import annotations

from typing import Any

import pytest
from salt.exceptions import CommandExecutionError

from saltern.modules import readback

WANTED = {"size": 3, "key": "secret"}


class Thing:
    """What is kept: there or not, written or lost."""

    def __init__(self) -> None:
        self.now: dict[str, Any] | None = None
        self.deaf = False
        self.broken = ""
        self.acts = 0

    def look(self) -> dict[str, Any] | None:
        self.fail("look")
        return self.now

    def fail(self, where: str) -> None:
        if self.broken == where:
            raise CommandExecutionError("No quorum.")

    def act(self, now: dict[str, Any] | None) -> None:
        self.acts += 1
        assert now == self.now
        self.fail("act")
        if not self.deaf:
            self.now = dict(WANTED)

    def remove(self) -> None:
        self.acts += 1
        self.fail("act")
        if not self.deaf:
            self.now = None

    def present(self, test: bool = False, wanted: Any = None) -> dict[str, Any]:
        wanted = WANTED if wanted is None else wanted
        return dict(
            readback.present("x", "Thing x", wanted, self.look, self.act, test, secret=("key",))
        )

    def absent(self, test: bool = False) -> dict[str, Any]:
        return dict(readback.absent("x", "Thing x", self.look, self.remove, test))


@pytest.fixture
def thing() -> Thing:
    return Thing()


def test_it_is_made_once(thing: Thing) -> None:
    size = {"old": None, "new": 3}
    assert thing.present() == {
        "name": "x", "changes": {"size": size, "key": "set"}, "result": True,
        "comment": "Thing x: created.",
    }  # fmt: skip
    found = thing.present()
    assert (found["changes"], found["comment"], thing.acts) == ({}, "Thing x: as wanted.", 1)


def test_only_what_differs_is_a_change_and_no_secret_is_shown(thing: Thing) -> None:
    thing.now = {"size": 3, "key": "other"}
    found = thing.present()
    assert (found["changes"], found["comment"]) == ({"key": "changed"}, "Thing x: altered.")
    assert not {"secret", "other"} & set(str(found).split("'"))


def test_a_thing_without_parts_is_made_too(thing: Thing) -> None:
    assert thing.present(test=True, wanted={})["changes"] == {"x": {"old": None, "new": "present"}}


def test_a_prediction_touches_nothing(thing: Thing) -> None:
    found = thing.present(test=True)
    assert (found["result"], found["comment"]) == (None, "Thing x: would be created.")
    assert set(found["changes"]) == {"size", "key"}
    thing.now = {"size": 2, "key": "secret"}
    assert thing.present(test=True)["comment"] == "Thing x: would be altered."
    found = thing.absent(test=True)
    assert (found["result"], found["changes"]) == (None, {"x": "removed"})
    assert thing.acts == 0


def test_what_reads_back_different_is_a_failure(thing: Thing) -> None:
    thing.deaf = True
    found = thing.present()
    assert found["result"] is False
    assert found["comment"] == "Thing x: written, but read back with a different size, key."
    thing.now = {"size": 2, "key": "secret"}
    assert thing.present()["comment"].endswith("read back with a different size.")
    found = thing.absent()
    assert (found["result"], found["changes"]) == (False, {})
    assert found["comment"] == "Thing x: is still there."


def test_a_thing_goes_once(thing: Thing) -> None:
    thing.now = dict(WANTED)
    found = thing.absent()
    assert (found["changes"], found["comment"]) == ({"x": "removed"}, "Thing x: removed.")
    found = thing.absent()
    assert (found["changes"], found["comment"]) == ({}, "Thing x: is not there.")
    assert thing.acts == 1


@pytest.mark.parametrize("broken", ["look", "act"])
@pytest.mark.parametrize("verb", ["present", "absent"])
def test_what_cannot_be_asked_or_done_is_a_failure(thing: Thing, verb: str, broken: str) -> None:
    thing.now = {"size": 2, "key": "secret"}
    thing.broken = broken
    assert getattr(thing, verb)() == {
        "name": "x", "changes": {}, "result": False, "comment": "Thing x: No quorum.",
    }  # fmt: skip


@pytest.mark.parametrize("verb", ["present", "absent"])
def test_in_test_mode_it_is_only_not_known_yet(thing: Thing, verb: str) -> None:
    thing.broken = "look"
    assert getattr(thing, verb)(test=True) == {
        "name": "x", "changes": {}, "result": None,
        "comment": "Thing x: cannot be told yet. No quorum.",
    }  # fmt: skip
