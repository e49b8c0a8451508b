"""The phases of an upgrade on a Kitchen host, one after the other as a rollout applies them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from testinfra.host import Host

from tests.support.repacked import offer

CALL = "salt-call --local --config-dir=/srv/kitchen/etc --out=json --log-level=quiet"


def call(host: Host, words: str) -> Any:
    """What a function of an execution module returns; fails where it does."""
    done = host.run(f"{CALL} {words} 2>/dev/null")
    assert done.rc == 0, done.stdout
    return json.loads(done.stdout)["local"]


def applied(host: Host, sls: str, *, test: bool = False) -> Mapping[str, Mapping[str, Any]]:
    """Apply an SLS; return its states by id. Fails where one of them failed."""
    done = host.run(f"{CALL} state.apply {sls}{' test=True' if test else ''} 2>/dev/null")
    states = json.loads(done.stdout)["local"]
    assert isinstance(states, dict), states
    failed = [one["comment"] for one in states.values() if one["result"] is False]
    assert not failed, failed
    return {one["__id__"]: one for one in states.values()}


def changed(states: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Ids of the states that changed something, or would."""
    return {key for key, one in states.items() if one["changes"] or one["result"] is None}


def offer_newer(host: Host, packages: list[str]) -> None:
    """Let apt find a later version of some packages of the host."""
    offer(host.check_output, packages)


def upgraded(host: Host, phases: list[str]) -> dict[str, set[str]]:
    """Apply SLS in order, each twice; return what each changed. The second run changes nothing."""
    found = {}
    for sls in phases:
        found[sls] = changed(applied(host, sls))
        assert not changed(applied(host, sls)), sls
    return found
