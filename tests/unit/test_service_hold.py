"""A held service stays stopped, belongs to somebody, and comes back only if it ran."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

from saltern.modules import service_hold

# as much of systemd as a hold needs: a unit is active while a file of its name is there
SYSTEMCTL = """#!/bin/sh
echo "$@" >> {top}/log
case "$1" in
is-active) test -e {top}/on/$2 && echo active || echo inactive ;;
stop) test -e {top}/stuck || rm -f {top}/on/$2 ;;
start) test -e {top}/units/$2.d/50-saltern-hold.conf && test -e {top}/holds/$2 && exit 0
       test -e {top}/broken && echo "it broke" && exit 1
       touch {top}/on/$2 ;;
esac
exit 0
"""


@pytest.fixture
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "bin").mkdir()
    (tmp_path / "on").mkdir()
    (tmp_path / "on/nova-compute.service").touch()
    (tmp_path / "bin/systemctl").write_text(SYSTEMCTL.format(top=tmp_path))
    (tmp_path / "bin/systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setattr(service_hold, "_MARKERS", str(tmp_path / "holds"))
    monkeypatch.setattr(service_hold, "_UNITS", str(tmp_path / "units"))
    return tmp_path


def runs(top: Path) -> bool:
    return (top / "on/nova-compute.service").exists()


def test_a_held_unit_cannot_be_started(top: Path) -> None:
    assert service_hold.hold("nova-compute") == "nova-compute.service is held."
    service_hold._systemctl("start", "nova-compute.service")
    assert not runs(top)
    drop_in = (top / "units/nova-compute.service.d/50-saltern-hold.conf").read_text()
    assert drop_in == f"[Unit]\nConditionPathExists=!{top}/holds/nova-compute.service\n"
    assert "daemon-reload" in (top / "log").read_text()
    (unit,) = service_hold.held()
    assert service_hold.held()[unit]["owner"] == "saltern"


def test_it_comes_back_as_it_was(top: Path) -> None:
    service_hold.hold("nova-compute")
    service_hold.hold("nova-compute")  # the second one does not note that it is stopped
    assert service_hold.release("nova-compute") == "nova-compute.service is released and runs."
    assert runs(top)
    assert service_hold.held() == {}
    assert not (top / "units/nova-compute.service.d").exists()
    assert service_hold.release("nova-compute") == "nova-compute.service is not held."


def test_what_did_not_run_is_not_started(top: Path) -> None:
    (top / "on/nova-compute.service").unlink()
    service_hold.hold("nova-compute.service")
    assert "did not run before" in service_hold.release("nova-compute")
    assert not runs(top)


def test_only_the_owner_releases(top: Path) -> None:
    service_hold.hold("nova-compute", owner="alice")
    for call in (service_hold.hold, service_hold.release):
        with pytest.raises(CommandExecutionError, match="is held by alice since 20"):
            call("nova-compute")
    assert not runs(top)
    service_hold.release("nova-compute", owner="alice")
    assert runs(top)


def test_a_unit_that_does_not_stop_is_no_hold(top: Path) -> None:
    (top / "stuck").touch()
    with pytest.raises(CommandExecutionError, match="is active, not stopped"):
        service_hold.hold("nova-compute")
    service_hold.release("nova-compute")
    assert runs(top)


def test_a_unit_that_does_not_start_stays_noted(top: Path) -> None:
    service_hold.hold("nova-compute")
    (top / "broken").touch()
    with pytest.raises(CommandExecutionError, match="is inactive, not started: it broke"):
        service_hold.release("nova-compute")
    assert list(service_hold.held()) == ["nova-compute.service"]
    (top / "broken").unlink()
    assert service_hold.release("nova-compute").endswith("released and runs.")


def test_drop_ins_of_others_stay(top: Path) -> None:
    service_hold.hold("nova-compute")
    other = top / "units/nova-compute.service.d/10-limits.conf"
    other.touch()
    service_hold.release("nova-compute")
    assert other.exists()


def test_a_damaged_marker_is_told(top: Path) -> None:
    service_hold.hold("nova-compute")
    (top / "holds/nova-compute.service").write_text("{")
    with pytest.raises(CommandExecutionError, match="cannot be read"):
        service_hold.release("nova-compute")
    (top / "holds/nova-compute.service").write_text(json.dumps({"owner": "saltern"}))
    service_hold.release("nova-compute")


@pytest.mark.usefixtures("top")
@pytest.mark.parametrize("name", ["", "..", "../x", "a b", "x;y"])
def test_a_name_is_no_path(name: str) -> None:
    with pytest.raises(SaltInvocationError, match="is no name of a unit"):
        service_hold.hold(name)
