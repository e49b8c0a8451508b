"""What stops a deployment before it begins."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace

import pytest

from saltern.rollout.ports import Call, Return
from saltern.rollout.preflight import PLUGINS, check_artifacts, check_hosts, judge_host, report
from saltern.rollout.returns import judge, silent
from tests.support import plugin_files

from .fakes import FakeBus, FakeClock, content

NODES = ["a.x", "b.x"]
WALL = 1_700_000_000.0


def fit(node: str, call: Call) -> Return:
    if call.fun == "health.preflight":
        return judge(node, {"facts": {"time": WALL}, "findings": []}, 0)
    return content(node, call)


def when(fun, node, give):
    def answer(asked, call):
        return give(node) if (call.fun, asked) == (fun, node) else fit(asked, call)

    return answer


def test_fit_hosts():
    bus = FakeBus(fit)
    assert check_hosts(NODES, bus, FakeClock(WALL)) == []
    assert bus.functions() == [
        "test.ping",
        *(f"saltutil.sync_{kind}" for kind in PLUGINS),
        "saltutil.refresh_modules",
        "health.preflight",
    ]


def test_every_kind_of_plugin_that_minions_get_is_sent():
    ours = {path.parent.name.removeprefix("_") for path in plugin_files()}
    assert ours - {"runners", "engines", "pillar", "tops"} == set(PLUGINS)


def test_a_preview_sends_no_modules():
    bus = FakeBus(fit)
    check_hosts(NODES, bus, FakeClock(WALL), sync=False)
    assert bus.functions() == ["test.ping", "health.preflight"]


def test_a_preview_of_a_host_without_the_modules_is_no_finding():
    def give(node):
        return judge(node, "'health.preflight' is not available.", 254)

    bus = FakeBus(when("health.preflight", "a.x", give))
    assert check_hosts(NODES, bus, FakeClock(WALL), sync=False) == []
    # the real run has sent them: there it is
    assert check_hosts(NODES, bus, FakeClock(WALL)) == ["a.x: 'health.preflight' is not available."]


def test_a_host_that_is_not_there_is_named_and_the_others_are_asked():
    bus = FakeBus(when("test.ping", "a.x", lambda n: silent(n, "did not answer")))
    assert check_hosts(NODES, bus, FakeClock(WALL)) == ["a.x: did not answer."]
    assert all(call.nodes == ("b.x",) for calls in bus.published[1:] for call in calls)


def test_nobody_there():
    bus = FakeBus(lambda n, c: silent(n, "did not answer"))
    assert len(check_hosts(NODES, bus, FakeClock(WALL))) == 2
    assert bus.functions() == ["test.ping"]


@pytest.mark.parametrize(
    ("time", "findings"),
    [
        (WALL - 4, []),
        (WALL + 33, []),  # the last answer came 30 s after the question
        (WALL - 60, ["a.x: its clock is 60 s off the master's; let both follow a time server."]),
        (WALL + 90, ["a.x: its clock is 60 s off the master's; let both follow a time server."]),
    ],
)
def test_clocks(time, findings):
    answer = judge("a.x", {"facts": {"time": time}, "findings": []}, 0)
    assert judge_host("a.x", answer, WALL, WALL + 30) == findings


def test_what_a_host_finds_is_told_with_its_name():
    answer = judge("a.x", {"facts": {"time": WALL}, "findings": ["/ has 1 MiB free."]}, 0)
    assert judge_host("a.x", answer, WALL, WALL) == ["a.x: / has 1 MiB free."]


def test_an_answer_without_facts_is_a_finding():
    assert judge_host("a.x", judge("a.x", True, 0), WALL, WALL) == [
        "a.x: health.preflight gave no facts."
    ]


def test_report():
    assert report([], 7)["comment"] == "Stage preflight: 7 hosts are fit for the deployment."
    refused = report(["a.x: one.", "b.x: two."], 7)
    assert refused["result"] is False
    assert refused["retcode"] == 2
    assert refused["comment"] == "Stage preflight refused, 2 findings: a.x: one. b.x: two."


# --- artifacts --------------------------------------------------------------------------------


def nodes(**source):
    pillar = {"keystone": {"server": {"source": source}}}
    return {
        node: SimpleNamespace(applications=["linux.system", "keystone.server"], pillar=pillar)
        for node in NODES
    }


def test_artifacts(tmp_path):
    data = b"an artifact"
    checksum = hashlib.sha256(data).hexdigest()
    url = "https://cfg01.x/artifacts/openstack/keystone.tar.zst"
    path = tmp_path / "openstack" / "keystone.tar.zst"
    pinned = nodes(engine="venv", url=url, sha256=checksum)

    assert check_artifacts(pinned, tmp_path) == [f"keystone.server: artifact {path} is missing."]
    path.parent.mkdir()
    path.write_bytes(b"another")
    (finding,) = check_artifacts(pinned, tmp_path)
    assert hashlib.sha256(b"another").hexdigest() in finding
    assert checksum in finding
    path.write_bytes(data)
    assert check_artifacts(pinned, tmp_path) == []


@pytest.mark.parametrize(
    "source",
    [
        {"engine": "venv"},
        {"engine": "venv", "url": "https://x/artifacts/y"},
        {"engine": "venv", "url": "https://x/artifacts/y", "sha256": "abc"},
    ],
)
def test_a_role_without_pin_is_told_once(source, tmp_path):
    (finding,) = check_artifacts(nodes(**source), tmp_path)
    assert finding.startswith("keystone.server: no artifact is pinned at keystone:server:source")


def test_what_does_not_come_from_the_master_is_not_looked_for(tmp_path):
    assert check_artifacts(nodes(engine="pkg"), tmp_path) == []
    mirror = nodes(engine="venv", url="https://mirror.x/y.tar.zst", sha256="0" * 64)
    assert check_artifacts(mirror, tmp_path) == []
