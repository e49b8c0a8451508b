"""Requests of hosts go to the authority, and each answer to the host it is for."""

from __future__ import annotations

from typing import Any

import pytest

from saltern.errors import StageError
from saltern.rollout import pki
from saltern.rollout.ports import Call, Return
from tests.unit.rollout.fakes import FakeBus

NODES = ("web01", "web02")


class Hosts:
    """Hosts that wait for certificates, and an authority that may refuse some."""

    def __init__(self, waiting: dict[str, str], refused: str = "", silent: str = "") -> None:
        self.waiting, self.refused, self.silent = waiting, refused, silent
        self.installed: dict[str, Any] = {}
        self.signed: list[str] = []

    def __call__(self, node: str, call: Call) -> Return:
        if node == self.silent:
            return Return(node, False, silent=True, sentence=f"{node} is silent")
        if call.fun == "pki_host.pending":
            return Return(node, True, self.waiting.get(node, ""))
        if call.fun == "pki_ca.sign_all":
            requests = call.arg[0]
            self.signed = sorted(requests)
            return Return(node, True, {n: self.answer(n, requests[n]) for n in requests})
        assert call.fun == "pki_host.install"
        self.installed[node] = dict(call.kwarg)
        return Return(node, True, ["host.crt"])

    def answer(self, node: str, csr: str) -> dict[str, str]:
        if node == self.refused:
            return {"error": f"{node} asks for too much"}
        return {"certificate": f"certificate of {csr}", "ca": "authority"}


def test_nobody_waits_nothing_changes() -> None:
    hosts = Hosts({})
    assert pki.certify(FakeBus(hosts), NODES, "ca") == ({}, "2 hosts have their certificates.")
    assert not hosts.signed


def test_only_those_who_wait_are_signed_each_for_itself() -> None:
    hosts = Hosts({"web02": "csr"})
    changes, sentence = pki.certify(FakeBus(hosts), NODES, "ca")
    assert changes == {"web02": "certificate signed"}
    assert sentence == "ca signed the certificates of 1 hosts."
    assert hosts.installed == {"web02": {"certificate": "certificate of csr", "ca": "authority"}}


def test_mode_signs_nothing() -> None:
    hosts = Hosts({"web01": "csr"})
    changes, _ = pki.certify(FakeBus(hosts), NODES, "ca", test=True)
    assert changes == {"web01": "would be signed"}
    assert not hosts.signed
    assert not hosts.installed


def test_a_refused_request_is_told_and_the_others_get_theirs() -> None:
    hosts = Hosts({"web01": "one", "web02": "two"}, refused="web01")
    with pytest.raises(StageError, match="web01 asks for too much"):
        pki.certify(FakeBus(hosts), NODES, "ca")
    assert set(hosts.installed) == {"web02"}


def test_a_silent_host_stops_before_anything_is_signed() -> None:
    hosts = Hosts({"web01": "one"}, silent="web02")
    with pytest.raises(StageError, match="web02 is silent"):
        pki.certify(FakeBus(hosts), NODES, "ca")
    assert not hosts.signed
