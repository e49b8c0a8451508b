"""What apt would do is told, done, and never done behind anybody's back: made up apt and dpkg."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError

from saltern.modules import host_restart, package_upgrade, readback
from saltern.states import package_upgrade as states


class Apt:
    """Packages: [installed, available, held]; what an install replaces beside those named."""

    def __init__(self) -> None:
        self.packages: dict[str, list[Any]] = {
            "libc6": ["2.36-9", "2.36-10", False],
            "bash": ["5.2-1", "5.2-1", False],
            "mariadb-server": ["1:10.11.6-1", "1:10.11.7-1", False],
            "vim": ["9.0-1", "9.0-2", True],
        }
        self.drags: dict[str, list[str]] = {}
        self.removes = ""
        self.cache: set[str] = set()
        self.local = False
        self.commands: list[str] = []

    def moved(self, names: list[str]) -> list[str]:
        every = [*names, *(other for name in names for other in self.drags.get(name, ()))]
        return [name for name in every if self.packages[name][0] != self.packages[name][1]]

    def run(self, command: list[str], timeout: float) -> subprocess.CompletedProcess[str]:
        assert timeout
        words = [word for word in command[1:] if not word.startswith("-") and "::" not in word]
        self.commands.append(" ".join([command[0], *words]))
        out = ""
        if command[0] == "dpkg-query":
            out = "".join(f"{n}\t{'h' if p[2] else 'i'}i \n" for n, p in self.packages.items())
        elif command[0] == "apt-cache":
            was, new, _ = self.packages[command[2]]
            out = f"{command[2]}:\n  Installed: {was}\n  Candidate: {new}\n"
        elif words[0] in ("install", "upgrade"):
            names = words[1:] or [n for n, p in self.packages.items() if not p[2]]
            out = self.apt(command, self.moved(names))
        return subprocess.CompletedProcess(command, 0, out, "")

    def apt(self, command: list[str], names: list[str]) -> str:
        if "--simulate" in command:
            lines = [
                f"Inst {n} [{self.packages[n][0]}] ({self.packages[n][1]} x [all])" for n in names
            ]
            return "\n".join([*lines, *([f"Remv {self.removes} [1]"] if self.removes else [])])
        if "--print-uris" in command:
            kind = "file:" if self.local else "http:"
            return "\n".join(
                f"'{kind}//r/{n}.deb' {n}.deb 5 " for n in names if n not in self.cache
            )
        self.cache.update(names)
        if "--download-only" not in command:
            for name in names:
                self.packages[name][0] = self.packages[name][1]
        return ""


@pytest.fixture
def apt(monkeypatch: pytest.MonkeyPatch) -> Apt:
    made = Apt()
    monkeypatch.setattr(package_upgrade, "_run", made.run)
    spared = {"galera.server": ["mariadb-*"], "nobody": None}
    pillar = {"linux": {"system": {"spared": spared}}}
    monkeypatch.setattr(package_upgrade, "__pillar__", pillar, raising=False)
    salt = {
        f"package_upgrade.{name}": getattr(package_upgrade, name)
        for name in ("pending", "prefetch", "unfetched", "install", "replaced")
    }
    salt["readback.unknown"] = readback.unknown
    monkeypatch.setattr(states, "__salt__", salt, raising=False)
    monkeypatch.setattr(states, "__opts__", {"test": False}, raising=False)
    return made


def test_all_packages_but_those_of_roles_and_those_on_hold(apt: Apt) -> None:
    assert package_upgrade.pending() == {"libc6": {"old": "2.36-9", "new": "2.36-10"}}
    assert package_upgrade.install() == {"libc6": {"old": "2.36-9", "new": "2.36-10"}}
    assert package_upgrade.pending() == {}
    assert apt.packages["mariadb-server"][0] == "1:10.11.6-1"


def test_a_role_names_its_own_by_patterns(apt: Apt) -> None:
    assert list(package_upgrade.pending(["mariadb-*", "not-there"])) == ["mariadb-server"]
    assert package_upgrade.pending(["bash"]) == {}


def test_a_package_of_a_role_is_not_dragged_along(apt: Apt) -> None:
    apt.drags["libc6"] = ["mariadb-server"]
    with pytest.raises(CommandExecutionError, match=r"which galera\.server replaces by itself"):
        package_upgrade.install()
    assert apt.packages["libc6"][0] == "2.36-9"


def test_nothing_is_removed(apt: Apt) -> None:
    apt.removes = "bash"
    with pytest.raises(CommandExecutionError, match="apt would remove bash"):
        package_upgrade.pending()


def test_a_named_package_on_hold_is_told_and_left_where_it_is_wanted(apt: Apt) -> None:
    with pytest.raises(CommandExecutionError, match=r"vim is on hold at 9\.0-1, and 9\.0-2"):
        package_upgrade.pending(["vim"])
    apt.packages["vim"][1] = "9.0-1"
    assert package_upgrade.pending(["vim"]) == {}


def test_files_are_fetched_once(apt: Apt) -> None:
    assert package_upgrade.unfetched(["mariadb-*"]) == ["mariadb-server.deb"]
    told = "1 packages are to be replaced; fetched 1 files."
    assert package_upgrade.prefetch(["mariadb-*"]) == told
    assert package_upgrade.unfetched(["mariadb-*"]) == []
    assert package_upgrade.prefetch(["bash"]).startswith("Nothing to fetch")
    apt.cache.clear()
    apt.local = True
    assert package_upgrade.unfetched(["mariadb-*"]) == []


@pytest.mark.parametrize("verb", ["fetched", "latest"])
def test_the_states_act_once_and_say_before_what_they_would_do(
    apt: Apt, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    state: Callable[..., dict[str, Any]] = getattr(states, verb)
    monkeypatch.setitem(states.__opts__, "test", True)
    told = state("x", ["mariadb-*"])
    assert (told["result"], bool(told["changes"])) == (None, True)
    assert not [c for c in apt.commands if c.startswith("apt-get update")]
    monkeypatch.setitem(states.__opts__, "test", False)
    assert state("x", ["mariadb-*"])["changes"]
    again = state("x", ["mariadb-*"])
    assert (again["result"], again["changes"]) == (True, {})


def test_a_daemon_whose_program_was_replaced_is_renewed(
    apt: Apt, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {"old": True}

    def renew(unit: str) -> bool:
        assert unit == "haproxy"
        seen["old"] = False
        return True

    monkeypatch.setitem(states.__salt__, "package_upgrade.replaced", lambda _: seen["old"])
    monkeypatch.setitem(states.__salt__, "service.reload", renew)
    monkeypatch.setitem(states.__salt__, "service.status", lambda _: True)
    assert states.renewed("haproxy", reload=True)["changes"] == {"haproxy": "reloaded"}
    assert states.renewed("haproxy", reload=True)["changes"] == {}
    seen["old"] = True
    monkeypatch.setitem(states.__salt__, "service.reload", lambda _: True)
    told = states.renewed("haproxy", reload=True)
    assert (told["result"], told["comment"]) == (
        False,
        "It still runs its old program: journalctl -u haproxy.",
    )


# --- what is left to restart --------------------------------------------------------------------


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that runs its newest kernel, with a mariadb and a guest."""
    for name in ("boot", "run", "proc/1", "proc/7", "proc/8"):
        (tmp_path / name).mkdir(parents=True)
    release = host_restart.os.uname().release
    (tmp_path / f"boot/vmlinuz-{release}").touch()
    (tmp_path / "proc/stat").write_text("cpu 1\nbtime 99999999999\n")
    libc = "7f-8f r-xp 0 fe:01 12 /usr/lib/libc.so.6"
    for number, group in (
        (7, "/system.slice/mariadb.service"),
        (8, "/machine.slice/machine-qemu.scope"),
    ):
        (tmp_path / f"proc/{number}/maps").write_text(
            f"{libc}\n7f-8f rw-s 0 0:1 9 /dev/zero (deleted)\n"
        )
        (tmp_path / f"proc/{number}/cgroup").write_text(f"0::{group}\n")
    monkeypatch.setattr(host_restart, "_BOOT", str(tmp_path / "boot"))
    monkeypatch.setattr(host_restart, "_PROC", str(tmp_path / "proc"))
    monkeypatch.setattr(host_restart, "_REQUIRED", str(tmp_path / "run/reboot-required"))
    monkeypatch.setattr(host_restart, "_CONTAINER", str(tmp_path / "run/container"))
    monkeypatch.setattr(host_restart, "_MARK", str(tmp_path / "run/mark"))
    return tmp_path


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What systemd was told."""
    found: list[str] = []
    monkeypatch.setattr(host_restart, "_systemd", lambda *words: found.append(" ".join(words)))
    return found


def test_a_host_with_its_newest_kernel_is_left_alone(machine: Path, told: list[str]) -> None:
    assert host_restart.reasons() == []
    assert host_restart.restart() == "No unit uses a file that was replaced."
    assert host_restart.settled()["ok"] is True
    assert told == []


def test_a_newer_kernel_restarts_a_host_once(machine: Path, told: list[str]) -> None:
    for release in ("9.9.0-9-amd64", "9.9.0-10-amd64"):
        (machine / f"boot/vmlinuz-{release}").touch()
    assert "9.9.0-10-amd64 is installed" in host_restart.reasons()[0]
    assert host_restart.restart().startswith("This host restarts.")
    assert told == ["shutdown -r +1"]
    assert host_restart.restart() == "This host restarts already."
    assert host_restart.settled() == {"ok": False, "sentence": "This host has not restarted yet."}
    # it came back with the same kernel: its boot loader prefers that
    (machine / "run/mark").unlink()
    assert "has to be again" in host_restart.settled()["sentence"]
    # a container has the kernel of its machine
    (machine / "run/container").touch()
    assert host_restart.settled()["ok"] is True


def test_a_package_may_ask_for_it_and_people_may_put_it_off(machine: Path, told: list[str]) -> None:
    (machine / "run/reboot-required").touch()
    (machine / "run/reboot-required.pkgs").write_text("libc6\nlibc6\ndbus\n")
    assert host_restart.reasons() == ["Packages ask for it: dbus, libc6."]
    assert "Left for later: Packages ask for it" in host_restart.restart("never")
    assert told == []
    assert host_restart.settled("never")["ok"] is True
    assert host_restart.settled()["ok"] is False
    host_restart.restart("always")
    assert told == ["shutdown -r +1"]


def test_a_kernel_that_was_replaced_under_its_name_counts(machine: Path) -> None:
    (machine / "proc/stat").write_text("btime 1\n")
    assert "was replaced since the host was started" in host_restart.reasons()[0]


def test_units_that_use_replaced_files_are_restarted_and_guests_are_not(
    machine: Path, told: list[str]
) -> None:
    for number in (7, 8):
        maps = machine / f"proc/{number}/maps"
        maps.write_text(maps.read_text().replace("libc.so.6", "libc.so.6 (deleted)"))
    assert host_restart.outdated() == ["mariadb.service"]
    assert host_restart.restart() == "Restarted mariadb.service."
    assert told == ["systemctl daemon-reexec", "systemctl try-restart mariadb.service"]
