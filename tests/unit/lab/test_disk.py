"""A host's disk goes over to another image: what is kept is there as it was, whatever crashes."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from saltern.errors import LabError
from saltern.lab import accounts, disk

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: marks of overlays")

KEEP = ("/etc/machine-id", "/etc/ssh/ssh_host_*", "/var/lib/app", "/srv/data")
PASSWD = "root:x:0:0:root:/root:/bin/sh\n"
GROUP = "root:x:0:\n"


def write(path: Path, text: str, user: int = 0, group: int = 0, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.chown(path, user, group)
    path.chmod(mode)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A host with state on a layer of its own, partly covering its image; and a new image."""
    old, new, upper = tmp_path / "old", tmp_path / "new", tmp_path / "host/upper"
    for root in (old, new):
        write(root / "etc/passwd", PASSWD)
        write(root / "etc/group", GROUP)
        write(root / "etc/shadow", "root:*:::::::\n", mode=0o640)
        write(root / "etc/machine-id", "")
    write(old / "var/lib/app/from-image", "image")
    write(old / "var/lib/app/removed", "image")
    write(old / "var/lib/app/anew/gone", "image")
    write(new / "var/lib/app/not-ours", "new image")
    write(new / "usr/bin/program", "new")
    write(upper / "etc/passwd", f"{PASSWD}app:x:105:106::/var/lib/app:/bin/false\n")
    write(upper / "etc/group", f"{GROUP}app:x:106:root,ghost\n")
    write(upper / "etc/machine-id", "0123\n")
    write(upper / "etc/ssh/ssh_host_key", "secret", mode=0o600)
    write(upper / "etc/ssh/sshd_config", "old")
    write(upper / "usr/bin/program", "old")
    write(upper / "var/lib/app/state", "precious", 105, 106, 0o4640)
    write(upper / "srv/data/block", "blocks", 64045, 64045)
    os.mknod(upper / "var/lib/app/removed", stat.S_IFCHR, 0)
    (upper / "var/lib/app/anew").mkdir()
    os.setxattr(upper / "var/lib/app/anew", disk.OPAQUE, b"y")
    write(upper / "var/lib/app/anew/file", "anew")
    os.setxattr(upper / "var/lib/app/state", "trusted.overlay.origin", b"handle")
    (tmp_path / "host/work").mkdir()
    (tmp_path / "host/prepared").touch()
    return tmp_path / "host"


def planned(place: Path) -> disk.Exchange:
    top = place.parent
    return disk.plan(place, "new", top / "new", top / "old", [{"source": "x"}], KEEP)


def contents(place: Path) -> dict[str, str]:
    upper = place / "upper"
    files = (path for path in upper.rglob("*") if path.is_file())
    return {str(path.relative_to(upper)): path.read_text() for path in files}


WANTED = {
    "etc/machine-id": "0123\n",
    "etc/ssh/ssh_host_key": "secret",
    "srv/data/block": "blocks",
    "var/lib/app/anew/file": "anew",
    "var/lib/app/from-image": "image",
    "var/lib/app/state": "precious",
}


def check(place: Path) -> None:
    found = contents(place)
    added = {name: found.pop(name) for name in list(found) if name in ("etc/passwd", "etc/group")}
    for name in ("etc/shadow", "etc/gshadow"):
        found.pop(name, None)
    assert found == WANTED
    assert added["etc/passwd"] == f"{PASSWD}app:x:105:106::/var/lib/app:/bin/false\n"
    assert added["etc/group"] == f"{GROUP}app:x:106:root\n"
    upper = place / "upper"
    assert os.getxattr(upper / "var/lib/app", disk.OPAQUE) == b"y"
    marks = [n for p in upper.rglob("*") for n in os.listxattr(p, follow_symlinks=False)]
    assert [name for name in marks if name.startswith(disk.OVERLAY)] == [disk.OPAQUE] * 2
    assert not os.path.lexists(upper / "var/lib/app/removed")
    info = (upper / "var/lib/app/state").stat()
    assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (105, 106, 0o4640)
    assert (upper / "srv/data/block").stat().st_uid == 64045
    assert not (place / "prepared").exists()
    assert not (place / "work").exists()


def test_what_is_kept_goes_over_and_nothing_else(place: Path) -> None:
    state = place / "upper/srv/data/block"
    inode = state.stat().st_ino
    disk.begin(place, planned(place))
    done = disk.advance(place, planned_again(place))
    assert done.stage == disk.SWITCH
    check(place)
    assert state.stat().st_ino == inode
    disk.end(place)
    assert sorted(path.name for path in place.iterdir()) == ["upper"]


def planned_again(place: Path) -> disk.Exchange:
    found = disk.load(place)
    assert found is not None
    return found


def test_the_journal_holds_the_whole_exchange(place: Path) -> None:
    work = planned(place)
    assert disk.load(place) is None
    disk.begin(place, work)
    assert disk.load(place) == work


def crashing(real: Callable[..., None], after: int) -> Callable[..., None]:
    """``real`` that works ``after`` times, then fails as a process does that is killed."""
    count = [0]

    def call(*args: object, **kwargs: object) -> None:
        count[0] += 1
        if count[0] > after:
            raise KeyboardInterrupt
        real(*args, **kwargs)

    return call


@pytest.mark.parametrize("name", ["rename", "lchown", "setxattr", "removexattr", "fsync"])
@pytest.mark.parametrize("after", range(8))
def test_a_crash_is_finished_by_the_next_call(
    place: Path, monkeypatch: pytest.MonkeyPatch, name: str, after: int
) -> None:
    disk.begin(place, planned(place))
    with monkeypatch.context() as patch:
        patch.setattr(os, name, crashing(getattr(os, name), after))
        try:
            disk.advance(place, planned_again(place))
        except KeyboardInterrupt:
            everywhere = [*place.glob("upper/srv/data/block"), *place.glob("*/srv/data/block")]
            assert {path.read_text() for path in everywhere} == {"blocks"}
    disk.advance(place, planned_again(place))
    check(place)


def test_numbers_of_accounts_follow_the_new_image(place: Path) -> None:
    new = place.parent / "new"
    write(new / "etc/passwd", f"{PASSWD}other:x:105:107::/:/bin/false\n")
    write(new / "etc/group", f"{GROUP}other:x:107:\napp:x:105:\nx:x:106:\n")
    work = planned(place)
    assert work.accounts == accounts.Accounts(
        {105: 999},
        {106: 105},
        {
            "passwd": ("app:x:999:105::/var/lib/app:/bin/false",),
            "shadow": ("app:!:::::::",),
        },
    )
    disk.begin(place, work)
    disk.advance(place, work)
    disk.save(place, work)  # as a crash right before the journal moved on would leave it
    (place / "upper").rename(place / "upper.new")
    (place / "upper.old").rename(place / "upper")
    disk.advance(place, planned_again(place))
    info = (place / "upper/var/lib/app/state").stat()
    assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (999, 105, 0o4640)


def test_a_directory_that_is_partly_in_the_image_is_refused(place: Path) -> None:
    os.setxattr(place / "upper/srv/data", "trusted.overlay.redirect", b"/elsewhere")
    with pytest.raises(LabError, match="partly in the image"):
        planned(place)
    assert disk.load(place) is None


def test_a_broken_journal_is_no_empty_one(place: Path) -> None:
    disk.journal(place).write_text("{")
    with pytest.raises(LabError, match="kept directories are in one of them"):
        disk.load(place)
