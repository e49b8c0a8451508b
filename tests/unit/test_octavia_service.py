"""The API of Octavia answers without its driver; the check does not take that for health."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError

from saltern.modules import octavia_service, openstack_db

URL = "https://ctl01.example.test:9876"


def install(monkeypatch: pytest.MonkeyPatch, run: Callable[..., str]) -> None:
    monkeypatch.setattr(openstack_db, "run", run)
    functions = {"openstack_db.ask": openstack_db.ask}
    monkeypatch.setattr(octavia_service, "__salt__", functions, raising=False)


def answers(monkeypatch: pytest.MonkeyPatch, *said: list[str]) -> list[Any]:
    """Let the script print what the API says; return what it was given."""
    given: list[Any] = []

    def run(argv: list[str], user: str, stdin: str) -> str:
        given.append((argv, user, json.loads(stdin)))
        return "a warning of a library\n" + json.dumps(said)

    install(monkeypatch, run)
    return given


def test_a_driver_in_every_answer_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    given = answers(monkeypatch, ["ovn"], ["noop_driver", "ovn"])
    told = octavia_service.provides("ovn", URL + "/")
    assert told["ok"] is True
    ((argv, user, want),) = given
    assert argv[0] == "/opt/openstack/current/octavia/bin/python3"
    assert (user, want["url"], want["times"]) == ("octavia", URL, octavia_service.TIMES)


def test_one_process_without_it_is_enough_to_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, ["ovn"], [], ["ovn"])
    told = octavia_service.provides("ovn", URL)
    assert told["ok"] is False
    assert "lacks the driver ovn in 1 of 3 answers" in told["sentence"]


def test_no_answer_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: Any, **__: Any) -> str:
        raise CommandExecutionError("the Load Balancer API does not answer: no route")

    install(monkeypatch, run)
    told = octavia_service.provides("ovn", URL)
    assert told == {"ok": False, "sentence": "the Load Balancer API does not answer: no route."}
