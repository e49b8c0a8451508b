"""The guest image: named by what it is made of, kept in the cache, and it boots."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from saltern.cli.lab import lab
from saltern.errors import LabError
from saltern.lab import guest
from saltern.lab.chroot import Chroot
from saltern.lab.image import ensure_image
from saltern.lab.paths import cache_dir
from saltern.lab.recipe import digest
from tests.support import TREE, guest_drill

DRILL = TREE / "tests/support/guest_drill.py"
PACKAGES = {"linux-image-1-cloud-amd64": "1-1", "busybox-static": "1:1"}
#: What the drill needs beside the base image.
MACHINE = ("dnsmasq-base", "qemu-system-x86")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SALTERN_CACHE", str(tmp_path))
    (tmp_path / "guest").mkdir()
    return tmp_path


def kept(cache: Path, content: bytes, packages: dict[str, str] | None = None) -> guest.Guest:
    disk = cache / "new.raw"
    disk.write_bytes(content)
    return guest._keep(disk, packages or PACKAGES, f"recipe-{guest.recipe_digest()}")


def test_a_guest_that_was_made_is_found(cache: Path) -> None:
    assert guest.cached_guest() is None
    made = kept(cache, b"disk")
    assert guest.cached_guest() == made
    assert made.checksum.startswith("sha512=")
    assert made.packages == PACKAGES
    assert Path(made.path).read_bytes() == b"disk"


def test_new_packages_are_another_image_and_the_old_one_stays(cache: Path) -> None:
    old = kept(cache, b"disk")
    new = kept(cache, b"other", {**PACKAGES, "busybox-static": "1:2"})
    assert guest.cached_guest() == new
    assert Path(old.path).read_bytes() == b"disk"


def test_the_same_build_leaves_the_file_that_is_there(cache: Path) -> None:
    first = os.stat(kept(cache, b"disk").path).st_ino
    assert os.stat(kept(cache, b"disk").path).st_ino == first


def test_a_truncated_image_is_not_used(cache: Path) -> None:
    made = kept(cache, b"disk")
    os.truncate(made.path, 2)
    assert guest.cached_guest() is None


def test_another_recipe_does_not_find_it(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(cache, b"disk")
    monkeypatch.setattr(guest, "SIZE", guest.SIZE + 1)
    assert guest.cached_guest() is None


@pytest.mark.parametrize("text", ["", "linux-image\n", "a b c\n"])
def test_what_apt_told_must_be_versions(text: str) -> None:
    with pytest.raises(LabError, match="guest's build"):
        guest.parse_versions(text)


def test_versions_are_read() -> None:
    assert guest.parse_versions("a 1:2-3\nb 4\n") == {"a": "1:2-3", "b": "4"}


def test_another_machine_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = os.uname_result(("Linux", "host", "6.1", "#1", "aarch64"))
    monkeypatch.setattr(guest.os, "uname", lambda: other)
    with pytest.raises(LabError, match="aarch64"):
        guest.ensure_guest()


def test_force_is_for_the_guest_only() -> None:
    done = CliRunner().invoke(lab, ["image", "--force"])
    assert done.exit_code == 2
    assert "--guest" in done.output


def test_the_command_tells_path_and_checksum(cache: Path) -> None:
    made = kept(cache, b"disk")
    done = CliRunner().invoke(lab, ["image", "--guest"])
    assert done.exit_code == 0, done.output
    assert made.path in done.output
    assert made.checksum in done.output


@pytest.mark.parametrize(
    "script", [path for path in sorted(guest.RECIPE.rglob("*")) if path.is_file()], ids=str
)
def test_scripts_are_shell(script: Path) -> None:
    if script.read_text().startswith("#!") or script.name == "lib":
        subprocess.run(["sh", "-n", script], check=True)
    else:
        assert script.name in ("inittab", "grub.cfg")


@pytest.fixture(scope="module")
def machine() -> Chroot:
    """A root file system with QEMU and dnsmasq, kept in the cache."""
    if os.geteuid() != 0:
        pytest.skip("needs root: QEMU runs in namespaces of its own")
    base = ensure_image(guest.SUITE)
    scratch = cache_dir() / f"test-qemu-{digest(base.ident, MACHINE)}"
    chroot = Chroot.throwaway(base.root, scratch)
    if not (scratch / "complete").exists():
        script = "apt-get -q update && apt-get -qy --no-install-recommends install"
        chroot.run(["sh", "-c", f"{script} {' '.join(MACHINE)}"], what="installing QEMU")
        (scratch / "complete").touch()
    return chroot


def drilled(machine: Chroot, disk: str) -> dict[str, Any]:
    names = ["unshare", "--net", "--pid", "--mount-proc", "--fork", "--kill-child"]
    argv = [*names, "python3", "/mnt/drill.py", "/mnt/guest.raw"]
    binds = {DRILL: "/mnt/drill.py", Path(disk): "/mnt/guest.raw"}
    return dict(json.loads(machine.run(argv, what="the guest's drill", binds=binds)))


@pytest.mark.full
def test_it_boots_and_does_what_probes_need(machine: Chroot) -> None:
    made = guest.ensure_guest()
    assert made.size < 64 << 20
    seen = drilled(machine, made.path)
    times = {name: round(value, 1) for name, value in seen.items() if isinstance(value, float)}
    print(f"seconds since power on, of the end since the button: {times}")
    console = "\n".join(seen["console"])
    # the address with MTU and classless routes, as the DHCP server of a network gives them
    assert "address eth0 10.9.0.50/24 mtu 1400 routes 169.254.169.254/32 10.9.0.1" in console
    assert (
        f"metadata: hostname {guest_drill.HOSTNAME} uuid {guest_drill.METADATA['uuid']}" in console
    )
    assert "ssh key ssh-ed25519 sha256" in console
    assert f"marker {guest_drill.MARKER}" in console
    # the port of the metadata, after the default one
    assert "echo on TCP port 7\n" in console
    assert seen["echo"] == ["same", "same"]
    # a volume came and went, and nobody wrote to it or to the guest's own disk
    assert "disk vdb 8 MiB serial vol-4711" in console
    assert seen["untouched"] is True
    assert seen["disk"] == "same"
    # the power button: an orderly end
    assert "power button" in console
    assert "guest: down" in console
    assert seen["code"] == 0


@pytest.mark.full
def test_two_builds_are_the_same_to_the_byte() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: it is built in a root file system")
    first = guest.ensure_guest()
    again = guest.ensure_guest(force=True)
    if again.packages != first.packages:
        first, again = again, guest.ensure_guest(force=True)
    assert dataclasses.asdict(again) == dataclasses.asdict(first)
