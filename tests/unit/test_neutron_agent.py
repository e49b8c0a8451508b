"""Neutron's agents are judged by what Neutron says of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError

from saltern.modules import neutron_agent as agent
from saltern.modules import openstack_db

KIND = "OVN Metadata agent"
CONTROL, COMPUTE = "/etc/neutron/neutron.conf", "/etc/nova/nova.conf"


class Neutron:
    """As much of the host and of Neutron as is asked for."""

    def __init__(self, agents: list[dict[str, Any]], files: tuple[str, ...] = (CONTROL,)) -> None:
        self.agents, self.files = agents, files
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.fault = ""

    def run(self, argv: list[str], user: str, stdin: str = "") -> str:
        self.asked.append((user, json.loads(stdin)))
        if self.fault:
            raise CommandExecutionError(self.fault)
        assert "password" not in " ".join(argv)
        return "a warning\n" + json.dumps(self.agents)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(openstack_db, "run", self.run)
        monkeypatch.setattr(
            agent, "__salt__", {"openstack_db.ask": openstack_db.ask}, raising=False
        )
        monkeypatch.setattr(agent, "__grains__", {"id": "cmp01.test"}, raising=False)
        monkeypatch.setattr(agent, "__pillar__", {}, raising=False)
        monkeypatch.setattr(agent.os.path, "exists", lambda path: path in self.files)


def one(host: str = "cmp01.test", up: bool = True, enabled: bool = True) -> dict[str, Any]:
    return {"kind": KIND, "host": host, "up": up, "enabled": enabled}


@pytest.mark.parametrize(
    ("agents", "ok", "word"),
    [
        ([one()], True, "is up."),
        ([one("cmp01")], True, "is up."),
        ([one(enabled=False)], True, "disabled"),
        ([one(up=False)], False, "not heard of"),
        ([one("cmp010.test")], False, "knows no"),
        ([{**one(), "kind": "OVN Controller agent"}], False, "knows no"),
        ([], False, "knows no"),
    ],
)
def test_an_agent_is_judged(
    agents: list[dict[str, Any]], ok: bool, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Neutron(agents).install(monkeypatch)
    answer = agent.up(KIND)
    assert answer["ok"] is ok
    assert word in answer["sentence"]


@pytest.mark.parametrize(
    ("files", "user", "section"),
    [((CONTROL, COMPUTE), "neutron", "nova"), ((COMPUTE,), "nova", "neutron")],
)
def test_credentials_are_those_of_a_service_of_the_host(
    files: tuple[str, ...], user: str, section: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    neutron = Neutron([one()], files)
    neutron.install(monkeypatch)
    assert agent.up(KIND)["ok"] is True
    assert neutron.asked == [(user, {"config": files[0], "section": section})]


def test_a_host_without_credentials_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    Neutron([], ()).install(monkeypatch)
    answer = agent.up(KIND)
    assert answer["ok"] is False
    assert CONTROL in answer["sentence"]


def test_an_api_that_is_silent_is_no_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    neutron = Neutron([])
    neutron.fault = "the Networking API does not answer: 503"
    neutron.install(monkeypatch)
    answer = agent.up(KIND)
    assert answer == {"ok": False, "sentence": f"{neutron.fault}."}
