"""Sanity without a cloud: what is planned, how a run ends, what a report says."""

from __future__ import annotations

import threading
from typing import Any

import pytest

pytest.importorskip("openstack")

from saltern.errors import PreflightError
from saltern.sanity.checks import CHECKS, Check
from saltern.sanity.client import (
    LEFTOVER_AGE,
    PREFIX,
    CheckError,
    Context,
    Deadline,
    is_leftover,
    sentence,
)
from saltern.sanity.run import Report, Row, planned, run
from saltern.sanity.target import Target, target

PASSWORD = "never-shown"
MEMBERS = [f"ctl0{n}.example.test" for n in (1, 2, 3)]


def pillar(**roles: list[str]) -> dict[str, Any]:
    named = {key.replace("_", "."): value for key, value in roles.items()}
    return {
        "openstack": {
            "client": {
                "region": "north",
                "auth": {"url": "https://api.example.test:5000/v3", "password": PASSWORD},
            }
        },
        "topology": {"cluster": "example", "roles": named},
    }


def cloud(**roles: list[str]) -> Target:
    return target(pillar(**roles))


def test_a_target_of_a_pillar() -> None:
    found = cloud(keystone_server=list(reversed(MEMBERS)))
    assert found.members == {"keystone.server": tuple(MEMBERS)}
    assert found.region == "north"
    assert found.direct_url(MEMBERS[1]) == "https://ctl02.example.test:5000/v3"
    assert found.credentials.password == PASSWORD
    assert PASSWORD not in f"{found!r} {found}"


@pytest.mark.parametrize("key", ["url", "password"])
def test_a_pillar_that_lacks_something_is_refused(key: str) -> None:
    data = pillar()
    del data["openstack"]["client"]["auth"][key]
    with pytest.raises(PreflightError, match=f"auth:{key}"):
        target(data)


@pytest.mark.parametrize(
    ("roles", "wanted"),
    [
        (
            {"keystone_server": MEMBERS},
            [("token", m) for m in MEMBERS] + [("token", ""), ("project", ""), ("user", "")],
        ),
        ({"glance_server": MEMBERS}, [("image", "")]),
        ({"placement_server": MEMBERS, "nginx_server": MEMBERS}, [("inventory", "")]),
        (
            {"horizon_server": MEMBERS},
            [("login", member) for member in MEMBERS] + [("login", "")],
        ),
        ({"ceph_rgw": MEMBERS}, [("object by Swift", ""), ("object by S3", "")]),
    ],
)
def test_the_roles_choose_the_checks(
    roles: dict[str, list[str]], wanted: list[tuple[str, str]]
) -> None:
    assert [(check.name, member) for check, member in planned(cloud(**roles))] == wanted


def test_every_control_plane_role_of_the_model_has_a_check() -> None:
    roles = (
        *("keystone_server", "glance_server", "placement_server", "ceph_rgw"),
        *("neutron_server", "cinder_volume", "heat_server", "nova_compute"),
        "horizon_server",
    )
    everything = dict.fromkeys(roles, MEMBERS)
    found = {check for check, _ in planned(cloud(**everything))}
    del everything["nova_compute"]
    # a network is no check of its own where a server has one
    assert found | {check for check, _ in planned(cloud(**everything))} == set(CHECKS)
    assert {check.name for check in CHECKS if check not in found} == {"network"}


def test_a_check_that_waits_runs_beside_the_others_and_rows_keep_their_order() -> None:
    met = threading.Barrier(2, timeout=20)

    def meet(context: Context, member: str) -> str:
        met.wait()
        return "met"

    def quick(context: Context, member: str) -> str:
        return "done"

    checks = (
        Check("slow", "nova.compute", meet, beside=True),
        Check("first", "nova.compute", quick),
        Check("second", "nova.compute", meet),
    )
    report = run(cloud(nova_compute=MEMBERS), checks)
    assert [(row.check, row.sentence) for row in report.rows] == [
        ("slow", "met"),
        ("first", "done"),
        ("second", "met"),
    ]
    assert not report.failures


def test_no_check_is_refused_and_is_not_success() -> None:
    with pytest.raises(PreflightError, match="no role of the cluster"):
        planned(cloud(linux_system=MEMBERS))


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_deadline_ends() -> None:
    clock = Clock()
    deadline = Deadline(5, clock)
    clock.now = 4.0
    assert deadline.left() == pytest.approx(1.0)
    clock.now = 5.0
    with pytest.raises(CheckError, match="not done within 5 s"):
        deadline.left()


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        (f"{PREFIX}1000-ab12", True),
        (f"{PREFIX}{2000 - LEFTOVER_AGE}-ab12", False),
        (f"{PREFIX}{1999 - LEFTOVER_AGE}-ab12", True),
        (f"{PREFIX}mine", False),
        ("saltern-1000-ab12", False),
        ("", False),
        (None, False),
    ],
)
def test_only_old_objects_of_sanity_runs_are_leftovers(name: str | None, wanted: bool) -> None:
    assert is_leftover(name, now=2000.0) is wanted


def only(function: Any, seconds: float = 5.0) -> tuple[Check, ...]:
    return (Check("probe", "keystone.server", function, seconds=seconds),)


def test_what_a_check_made_is_undone_in_reverse_however_it_ends() -> None:
    undone: list[str] = []

    def broken(context: Context, _: str) -> str:
        for name in ("first", "second"):
            context.undo(name, lambda name=name: undone.append(name))
        raise ValueError("an answer of another shape")

    report = run(cloud(keystone_server=MEMBERS), only(broken))
    assert undone == ["second", "first"]
    (row,) = report.rows
    assert not row.ok
    assert row.sentence == "ValueError: an answer of another shape"


def test_an_undo_that_fails_fails_the_check_and_stops_no_other() -> None:
    undone: list[str] = []

    def refuse() -> None:
        raise OSError("refused")

    def check(context: Context, _: str) -> str:
        context.undo("project one", lambda: undone.append("one"))
        context.undo("project two", refuse)
        return "fine"

    report = run(cloud(keystone_server=MEMBERS), only(check))
    assert undone == ["one"]
    assert report.failures == [
        "keystone.server: probe (VIP): fine; project two was left behind: refused"
    ]


def test_one_failed_check_stops_no_other() -> None:
    def refuse(context: Context, member: str) -> str:
        raise CheckError(f"{member} refuses")

    checks = (
        Check("one", "keystone.server", refuse, each=True),
        Check("two", "keystone.server", lambda context, member: "fine"),
    )
    report = run(cloud(keystone_server=MEMBERS), checks)
    assert [(row.check, row.where, row.ok) for row in report.rows] == [
        ("one", "ctl01", False),
        ("one", "ctl02", False),
        ("one", "ctl03", False),
        ("two", "VIP", True),
    ]
    assert "ctl02.example.test refuses" in report.comment


def test_a_request_does_not_outlive_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    import keystoneauth1.session

    seen: list[Any] = []
    monkeypatch.setattr(
        keystoneauth1.session.Session,
        "request",
        lambda self, url, method, **kwargs: seen.append(kwargs["timeout"]),
    )
    clock = Clock()
    context = Context(cloud(keystone_server=MEMBERS), Deadline(20, clock))
    for clock.now in (0.0, 10.0, 19.0):
        context.session.request("https://api.example.test", "GET")
    assert seen == [(3.0, 15.0), (3.0, 10.0), (1.0, 1.0)]
    clock.now = 20.0
    with pytest.raises(CheckError):
        context.session.request("https://api.example.test", "GET")
    assert len(seen) == 3


def test_a_report() -> None:
    good = Row("glance.server", "image", "VIP", True, 1.25, "300 kB compared")
    bad = Row("keystone.server", "token", "ctl02", False, 3.0, "no answer")
    assert Report("example", (good,), 1.2).comment == (
        "Sanity of example: 1 checks passed in 1.2 s."
    )
    report = Report("example", (good, bad))
    assert report.failures == ["keystone.server: token (ctl02): no answer"]
    head, first, second = report.table().splitlines()
    assert head.split() == ["ROLE", "CHECK", "WHERE", "RESULT", "SECONDS", "WHAT"]
    assert (first.index("ok"), second.index("FAILED")) == (head.index("RESULT"),) * 2
    assert report.data()[1]["ok"] is False


#: What the SDK says when a name does not resolve, and when nobody listens.
UNRESOLVED = (
    "Unable to establish connection to http://ctl01:5000/v3: HTTPSConnectionPool(host='ctl01', "
    'port=5000): Max retries exceeded with url: /v3 (Caused by NameResolutionError("HTTPS'
    "Connection(host='ctl01', port=5000): Failed to resolve 'ctl01' ([Errno -2] Name or service "
    'not known)"))'
)
REFUSED = (
    "Unable to establish connection to http://127.0.0.1:9/v3: HTTPConnectionPool(host='127.0.0.1', "
    "port=9): Max retries exceeded with url: /v3 (Caused by NewConnectionError('<urllib3.connection"
    ".HTTPConnection object at 0x7f>: Failed to establish a new connection: [Errno 111] Connection "
    "refused'))"
)


@pytest.mark.parametrize(
    ("text", "begin", "end"),
    [
        (UNRESOLVED, "Unable to establish connection to http://ctl01:5000/v3: ", "not known)"),
        (REFUSED, "Unable to establish connection to http://127.0.0.1:9/v3: ", "refused"),
        ("Two\n  lines.", "Two lines", ""),
        ("", "OSError", ""),
    ],
)
def test_an_error_on_one_line(text: str, begin: str, end: str) -> None:
    said = sentence(OSError(text))
    assert said.startswith(begin)
    assert said.endswith(end)
    assert "Caused by" not in said
    assert "object at" not in said
