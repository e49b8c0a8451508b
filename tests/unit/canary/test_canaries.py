"""Canaries: made once, proven, and whatever is lost or made anew is found; removed again."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openstack")

from saltern.canary import content, run
from saltern.canary.types import CODES, MADE, MAKING, Canary, CanaryError, Flock, Report
from saltern.errors import PreflightError
from saltern.sanity import guest, waiting
from saltern.sanity.target import Credentials, Target
from tests.support import TREE
from tests.unit.canary.cloud import Cloud, Context, qcow2

TARGET = Target(
    "demo", Credentials("https://api.example.test:5000/v3", "admin", "x"), "north", "public", {}
)
ALL = [kind.name for kind in run.KINDS]
#: kind of canary -> what it is in the cloud in memory
THINGS = {name: name.replace(" ", "_") for name in ALL} | {"address": "ip"}


class Book:
    """A book in memory."""

    def __init__(self) -> None:
        self.kept: Flock | None = None
        self.rows: dict[str, Canary] = {}

    def flock(self) -> Flock | None:
        return self.kept

    def begin(self, seed: str, url: str) -> Flock:
        self.kept = self.kept or Flock("demo", "admin", seed, url, 1.0, "somebody")
        return self.kept

    def canaries(self) -> dict[str, Canary]:
        return dict(self.rows)

    def put(self, canary: Canary) -> None:
        self.rows[canary.kind] = canary

    def drop(self, kind: str) -> None:
        del self.rows[kind]

    def end(self) -> None:
        self.kept = None


class Told:
    """Progress, as lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def emit(self, tag: str, data: Any, line: str = "") -> None:
        assert tag.startswith("canary/")
        self.lines.append(line)


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture
def keeper(cloud: Cloud, book: Book, monkeypatch: pytest.MonkeyPatch) -> run.Keeper:
    times = iter(range(10**9))
    monkeypatch.setattr(waiting.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(guest, "pinged", lambda address: address == "203.0.113.9")
    monkeypatch.setattr(guest, "echoed", lambda address: cloud.answering)

    def connect(target: Target, deadline: Any) -> Any:
        return Context(cloud, target, deadline)

    # a deadline that ends by being asked, not by waiting
    class Deadline:
        def __init__(self, seconds: float) -> None:
            self.seconds, self.end = seconds, next(times) + 40

        def left(self) -> float:
            if next(times) > self.end:
                raise waiting.CheckError(f"not done within {self.seconds:g} s")
            return 1.0

    monkeypatch.setattr("saltern.canary.work.Deadline", Deadline)
    return run.Keeper(TARGET, book, lambda flock: f"pw-{flock.seed}", Told(), connect)


def failed(report: Report) -> dict[str, str]:
    """Names of the canaries that failed, without the prefix, with their codes."""
    for row in report.rows:
        assert (row.result == "failed") == (row.code in CODES)
        assert row.sentence
        assert not row.sentence.endswith(".")
    return {row.canary.removeprefix("canary-"): row.code for row in report.rows if row.code}


def results(report: Report) -> set[str]:
    return {row.result for row in report.rows}


# -- all is well -----------------------------------------------------------------------------


def test_all_is_made_proven_and_removed(keeper: run.Keeper, cloud: Cloud, book: Book) -> None:
    made = keeper.create()
    assert (failed(made), results(made)) == ({}, {"ok"})
    assert made.comment == "Canaries of demo: 13 made."
    assert {canary.state for canary in book.rows.values()} == {MADE}
    before = {kind: set(things) for kind, things in cloud.things.items()}
    proven = keeper.verify()
    assert (failed(proven), results(proven)) == ({}, {"ok"})
    assert proven.comment == "Canaries of demo: 13 proven."
    # what a proof makes for a moment is gone
    assert {k: v for k, v in before.items() if v} == {
        kind: set(things) for kind, things in cloud.things.items() if things
    }
    gone = keeper.destroy()
    assert (failed(gone), results(gone)) == ({}, {"ok"})
    assert (cloud.left(), book.rows, book.kept) == ([], {}, None)
    assert keeper.destroy().failures == []


def test_each_is_told_as_it_goes_and_the_password_never(keeper: run.Keeper, book: Book) -> None:
    report = keeper.create()
    lines = keeper.events.lines  # type: ignore[attr-defined]
    assert "canary-server ..." in lines
    assert "canary-server ok: made" in lines
    assert book.kept is not None
    shown = f"{lines} {report.table()} {report.data()} {book.rows} {book.kept}"
    assert f"pw-{book.kept.seed}" not in shown
    assert "s3cr3t" not in shown


def test_a_second_call_makes_nothing(keeper: run.Keeper, cloud: Cloud) -> None:
    keeper.create()
    cloud.calls.clear()
    again = keeper.create()
    assert (failed(again), results(again)) == ({}, {"ok"})
    assert not [call for call in cloud.calls if call.startswith(("create", "delete"))]


@pytest.mark.parametrize("stopped", ALL)
def test_a_run_that_was_ended_is_finished(
    stopped: str, keeper: run.Keeper, cloud: Cloud, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies when the thing is in the cloud and its id is not in the book."""
    real = book.put

    def put(canary: Canary) -> None:
        if canary.kind == stopped and canary.id:
            raise KeyboardInterrupt
        real(canary)

    monkeypatch.setattr(book, "put", put)
    with pytest.raises(KeyboardInterrupt):
        keeper.create()
    assert book.rows[stopped].state == MAKING
    monkeypatch.setattr(book, "put", real)
    unfinished = failed(keeper.verify())
    assert unfinished[Canary(stopped).name.removeprefix("canary-")] == "canary-unfinished"
    again = keeper.create()
    assert failed(again) == {}
    assert len(cloud.all(THINGS[stopped])) == 1 + (stopped in ("image", "network"))
    assert failed(keeper.verify()) == {}


@pytest.mark.parametrize("stopped", ALL)
def test_a_half_made_set_is_removed(
    stopped: str, keeper: run.Keeper, cloud: Cloud, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = book.put

    def put(canary: Canary) -> None:
        if canary.kind == stopped and canary.id:
            raise KeyboardInterrupt
        real(canary)

    monkeypatch.setattr(book, "put", put)
    with pytest.raises(KeyboardInterrupt):
        keeper.create()
    assert failed(keeper.destroy()) == {}
    assert (cloud.left(), book.rows) == ([], {})


# -- what is not offered ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("service", "skipped"),
    [
        ("s3", {"object"}),
        ("block-storage", {"volume", "attachment"}),
        ("compute", {"server", "address", "attachment"}),
        ("network", {"network", "subnet", "router", "security-group", "server", "address",
                     "attachment"}),
        ("image", {"image", "volume", "attachment"}),
    ],
)  # fmt: skip
def test_what_the_cloud_does_not_offer_is_skipped(
    service: str, skipped: set[str], keeper: run.Keeper, cloud: Cloud
) -> None:
    cloud.services.remove(service)
    for report in (keeper.create(), keeper.verify()):
        assert failed(report) == {}
        told = {
            row.canary.removeprefix("canary-") for row in report.rows if row.result == "skipped"
        }
        assert told == skipped
    assert f"{len(skipped)} skipped" in report.comment
    # it comes later: the rest stays, and the missing ones are made
    cloud.services.add(service)
    assert failed(keeper.create()) == {}
    assert results(keeper.verify()) == {"ok"}


def test_a_cloud_that_does_not_answer_is_no_cloud_without_services(
    keeper: run.Keeper, cloud: Cloud, book: Book
) -> None:
    cloud.refuse.add("catalogue")
    with pytest.raises(PreflightError, match="does not tell what it offers: Unable to connect"):
        keeper.create()
    assert (book.kept, cloud.left()) == (None, [])


# -- what is lost ----------------------------------------------------------------------------


def key(kind: str) -> str:
    return kind.replace(" ", "-")


@pytest.mark.parametrize("kind", ALL)
def test_each_that_is_lost_is_found_and_not_made_again(
    kind: str, keeper: run.Keeper, cloud: Cloud
) -> None:
    keeper.create()
    cloud.drop(THINGS[kind])
    report = keeper.verify()
    assert failed(report)[key(kind)] == "canary-lost", report.table()
    assert f"{Canary(kind).name} (" in report.comment
    cloud.calls.clear()
    assert failed(keeper.create())[key(kind)] == "canary-lost"
    assert not [call for call in cloud.calls if call.startswith("create")]


@pytest.mark.parametrize(
    "kind",
    ["image", "network", "subnet", "router", "security group", "server", "address", "volume"],
)
def test_each_that_was_made_anew_under_its_id_is_found(
    kind: str, keeper: run.Keeper, cloud: Cloud
) -> None:
    keeper.create()
    cloud.again(THINGS[kind])
    assert failed(keeper.verify()) == {key(kind): "canary-replaced"}


def put_anew(cloud: Cloud) -> None:
    cloud.one("object").changed = "later"


def lose_content(cloud: Cloud) -> None:
    cloud.blobs[cloud.one("image").id] = b"other"


def other_checksum(cloud: Cloud) -> None:
    cloud.one("image").hash_value = "0"


def change_disk(cloud: Cloud) -> None:
    id = cloud.one("volume").id
    changed = bytearray(cloud.blobs[id])
    changed[700_000] ^= 1  # the data come from a random seed: no fixed byte surely differs
    cloud.blobs[id] = bytes(changed)


def empty_disk(cloud: Cloud) -> None:
    cloud.blobs[cloud.one("volume").id] = b""


def longer_disk(cloud: Cloud) -> None:
    cloud.blobs[cloud.one("volume").id] += bytes(1 << 20) + b"!"


def other_password(cloud: Cloud) -> None:
    cloud.passwords[cloud.one("user").id] = "reset"


def no_role(cloud: Cloud) -> None:
    cloud.roles.clear()


def disabled(cloud: Cloud) -> None:
    cloud.one("project").is_enabled = False


def other_secret(cloud: Cloud) -> None:
    cloud.one("credential").known["secret"] = "another"


def other_object(cloud: Cloud) -> None:
    cloud.one("object").data = b"other"


def down(kind: str, status: str) -> Callable[[Cloud], None]:
    def change(cloud: Cloud) -> None:
        cloud.one(kind).status = status

    change.__name__ = f"{kind} is {status}"
    return change


def silent(cloud: Cloud) -> None:
    cloud.answering = False


def other_guest(cloud: Cloud) -> None:
    cloud.console[cloud.one("server").id].append("guest: user data 9 bytes, marker other")


def rebuilt(cloud: Cloud) -> None:
    cloud.one("server").image.id = "another"


def renumbered(cloud: Cloud) -> None:
    port = next(p for p in cloud.all("port") if p.device_owner == "compute:nova")
    port.fixed_ips = [{"ip_address": "198.51.100.9"}]


def disk_went(cloud: Cloud) -> None:
    cloud.console[cloud.one("server").id].append("guest: disk vdb is gone")


def cinder_forgot(cloud: Cloud) -> None:
    cloud.one("volume").attachments = []


def volume_detached(cloud: Cloud) -> None:
    cloud.one("volume").status = "available"


def rule_lost(cloud: Cloud) -> None:
    cloud.one("security_group").security_group_rules.pop()


def unwired(cloud: Cloud) -> None:
    port = next(p for p in cloud.all("port") if p.device_owner == "network:router_interface")
    cloud.delete("port", port.id)


def moved_outside(cloud: Cloud) -> None:
    outside = cloud.one("router").external_gateway_info
    outside["external_fixed_ips"] = [{"ip_address": "203.0.113.3"}]


def other_cidr(cloud: Cloud) -> None:
    cloud.one("subnet").gateway_ip = "198.51.100.2"


@pytest.mark.parametrize(
    ("damage", "kind", "code", "words"),
    [
        (put_anew, "object", "replaced", "time of its last change is 'later'"),
        (other_object, "object", "data", "its ETag is"),
        (lose_content, "image", "data", "its content differs from the 1048576 bytes"),
        (other_checksum, "image", "data", "its checksum is 'sha512=0'"),
        (change_disk, "volume", "data", "differs within 65536 bytes from byte 655360 on"),
        (empty_disk, "volume", "data", "has 0 of 1048576 bytes"),
        (longer_disk, "volume", "data", "from byte 2097152 on"),
        (disabled, "project", "state", "its enabled is False, not True"),
        (no_role, "user", "state", "its roles lack r-member"),
        (other_password, "user", "data", "cannot log in with its password"),
        (other_secret, "credential", "data", "digest of the secret"),
        (down("network", "DOWN"), "network", "state", "its status is DOWN, not ACTIVE"),
        (down("router", "ERROR"), "router", "state", "its status is ERROR"),
        (down("server", "SHUTOFF"), "server", "state", "its status is SHUTOFF"),
        (down("ip", "DOWN"), "address", "state", "its status is DOWN"),
        (down("image", "deactivated"), "image", "state", "its status is DEACTIVATED"),
        (volume_detached, "volume", "state", "its status is AVAILABLE, not IN-USE"),
        (silent, "address", "unreached", "203.0.113.9 does not echo on TCP 7"),
        (other_guest, "server", "data", "marker other', not its marker"),
        (rebuilt, "server", "replaced", "its image is 'another'"),
        (renumbered, "server", "state", "its address is '198.51.100.9'"),
        (disk_went, "attachment", "state", "saw its disk go"),
        (cinder_forgot, "attachment", "state", "servers by Cinder lack server-"),
        (rule_lost, "security-group", "state", "its rules lack ingress IPv4 tcp 7-7"),
        (unwired, "router", "state", "its ports inside lack port-"),
        (moved_outside, "router", "state", "have 203.0.113.3 too"),
        (other_cidr, "subnet", "state", "its gateway is '198.51.100.2'"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_changed_is_told_with_its_code(
    damage: Callable[[Cloud], None], kind: str, code: str, words: str,
    keeper: run.Keeper, cloud: Cloud,
) -> None:  # fmt: skip
    keeper.create()
    damage(cloud)
    report = keeper.verify()
    found = failed(report)
    assert found.pop(kind) == f"canary-{code}", report.table()
    (row,) = [row for row in report.rows if row.canary == f"canary-{kind}"]
    assert words in row.sentence
    if damage in (other_password, no_role):
        # nobody can say how the others are, and that is no success
        assert set(found.values()) == {"canary-unknown"}
        assert len(found) == len(ALL) - 2
    else:
        assert found == {}


def test_a_proof_that_fails_leaves_nothing(keeper: run.Keeper, cloud: Cloud) -> None:
    keeper.create()
    before = len(cloud.left())
    cloud.refuse.add("create volume")
    assert failed(keeper.verify()) == {"volume": "canary-unknown"}
    assert len(cloud.left()) == before


def test_what_an_ended_proof_left_goes(keeper: run.Keeper, cloud: Cloud) -> None:
    keeper.create()
    before = sorted(cloud.left())
    storage = Context(cloud, dataclasses.replace(TARGET), None).cloud.block_storage  # type: ignore[arg-type]
    storage.create_snapshot(volume_id=cloud.one("volume").id, is_forced=True, name="canary-proof")
    assert failed(keeper.verify()) == {}
    assert sorted(cloud.left()) == before


def test_none_are_no_success(keeper: run.Keeper) -> None:
    with pytest.raises(PreflightError, match="there are no canaries"):
        keeper.verify()


# -- what cannot be made, what cannot be removed -----------------------------------------------


def test_what_cannot_be_made_stops_only_what_needs_it(keeper: run.Keeper, cloud: Cloud) -> None:
    cloud.refuse.add("create server")
    report = keeper.create()
    assert failed(report) == dict.fromkeys(("server", "address", "attachment"), "canary-unfinished")
    assert "address: it needs canary-server, which is not whole" in report.comment
    assert "out of order" in report.comment
    assert set(failed(keeper.verify())) == {"server", "address", "attachment"}
    cloud.refuse.clear()
    assert failed(keeper.create()) == {}
    assert failed(keeper.verify()) == {}


def test_a_project_of_somebody_else_is_not_taken(
    keeper: run.Keeper, cloud: Cloud, book: Book
) -> None:
    cloud.add("project", name="canary-project", domain_id="default", is_enabled=True)
    report = keeper.create()
    assert set(failed(report).values()) == {"canary-unfinished", "canary-state"}
    assert "the journal does not know it" in report.comment
    assert failed(keeper.destroy()) == {}
    assert len(cloud.all("project")) == 1


def test_what_is_left_is_named_and_the_next_call_removes_it(
    keeper: run.Keeper, cloud: Cloud, book: Book
) -> None:
    keeper.create()
    cloud.refuse.add("network")
    report = keeper.destroy()
    assert failed(report) == dict.fromkeys(("network", "user", "project"), "canary-left")
    assert "network is in use" in report.comment
    assert "kept, for canary-network is left in it" in report.comment
    assert set(book.rows) == {"network", "user", "project"}
    cloud.refuse.clear()
    assert failed(keeper.destroy()) == {}
    assert (cloud.left(), book.kept) == ([], None)


def test_without_a_login_the_administrator_removes(keeper: run.Keeper, cloud: Cloud) -> None:
    keeper.create()
    other_password(cloud)
    # the object alone is its owner's to remove
    assert set(failed(keeper.destroy())) == {"object", "user", "project"}


def test_the_list_is_what_the_book_has(keeper: run.Keeper, book: Book) -> None:
    assert run.listed(None, {}) == []
    keeper.create()
    found = run.listed(book.kept, book.rows)
    assert [one["canary"] for one in found] == [Canary(name).name for name in ALL]
    assert {one["state"] for one in found} == {MADE}


def test_every_code_has_a_heading_with_its_cure() -> None:
    page = (TREE / "docs/reference/codes.md").read_text()
    text = page.split("\n## Verdicts of canaries\n")[1].split("\n## ")[0]
    sections = dict(
        re.findall(r"^### `([\w-]+)`\n(.*?)(?=^### |\Z)", text, re.MULTILINE | re.DOTALL)
    )
    assert tuple(sections) == CODES
    assert not [code for code, told in sections.items() if "\nCure: " not in told]


# -- data ------------------------------------------------------------------------------------


def test_data_is_the_same_for_the_same_seed_only() -> None:
    one = content.made("aa", "image", 10_000)
    assert len(one) == 10_000
    assert one == content.made("aa", "image", 10_000)
    assert one != content.made("ab", "image", 10_000)
    assert one[5000:] != content.made("aa", "object", 10_000)[5000:]
    assert one.startswith(b"A canary of Saltern: image, aa.")


WRITTEN = content.made("aa", "image", 1 << 20)


def packed(disk: bytes) -> bytes:
    """A QCOW2 of 4 KiB clusters of which the first one is compressed."""
    image = qcow2(disk, bits=12)
    pack = zlib.compressobj(9, zlib.DEFLATED, -12)
    data = pack.compress(disk[:4096]) + pack.flush()
    place = len(image) + 100
    sectors = ((place & 511) + len(data) - 1) // 512
    entry = 1 << 62 | sectors << (62 - 4) | place
    at = 2 * 4096
    return image[:at] + struct.pack(">Q", entry) + image[at + 8 :] + bytes(100) + data


@pytest.mark.parametrize("image", [qcow2(WRITTEN), packed(WRITTEN)], ids=["plain", "packed"])
def test_a_volume_is_compared_to_the_byte(image: bytes) -> None:
    assert content.same_disk(image, WRITTEN) == ""
    other = b"B" + WRITTEN[1:]
    assert "from byte 0 on" in content.same_disk(image, other)
    assert "of 1114112 bytes" in content.same_disk(image, WRITTEN + bytes(1 << 16))


@pytest.mark.parametrize(
    "image",
    [
        b"",
        b"no image at all".ljust(200),
        qcow2(WRITTEN)[: 1 << 16],
        qcow2(WRITTEN).replace(b"QFI\xfb", b"QED\x00", 1),
        packed(WRITTEN)[:-20],
    ],
    ids=["nothing", "text", "cut off", "another format", "cut off in a packed cluster"],
)
def test_what_is_no_image_of_a_volume_is_not_taken_for_one(image: bytes) -> None:
    with pytest.raises(CanaryError, match="what was uploaded of the volume"):
        content.same_disk(image, WRITTEN)


@pytest.mark.skipif(not shutil.which("qemu-img"), reason="needs qemu-img")
@pytest.mark.parametrize("more", [[], ["-c"], ["-c", "-o", "cluster_size=4k"]], ids=str)
def test_what_qemu_writes_is_read(more: list[str], tmp_path: Path) -> None:
    raw, made = tmp_path / "disk.raw", tmp_path / "disk.qcow2"
    raw.write_bytes(WRITTEN)
    os.truncate(raw, 1 << 30)
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", *more, raw, made], check=True)
    assert content.same_disk(made.read_bytes(), WRITTEN) == ""
