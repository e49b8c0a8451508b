"""Which lab a command means."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from saltern.cli.lab import chosen, lab
from saltern.errors import LabError


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SALTERN_STATE", str(tmp_path))
    return tmp_path


def make(state: Path, name: str, *hosts: str) -> None:
    entry = {"fqdn": "x", "address": "10.0.0.1", "image": "bookworm", "binds": []}
    record = {"lab": name, "hosts": {host: {"name": host, **entry} for host in hosts}}
    place = state / "labs" / name
    place.mkdir(parents=True)
    (place / "lab.json").write_text(json.dumps(record))


def test_without_a_lab_the_way_to_one_is_told(state: Path) -> None:
    with pytest.raises(LabError, match="saltern deploy CLUSTER"):
        chosen(None)


def test_the_only_lab_is_meant(state: Path) -> None:
    make(state, "demo-core", "cfg01")
    assert chosen(None) == "demo-core"
    assert chosen("other") == "other"


def test_a_host_names_its_lab(state: Path) -> None:
    make(state, "demo-core", "cfg01", "ctl01")
    make(state, "scratch-a", "a")
    assert chosen(None, "ctl01") == "demo-core"
    with pytest.raises(LabError, match="several labs: demo-core, scratch-a"):
        chosen(None)
    make(state, "demo-2", "cfg01")
    with pytest.raises(LabError, match="several labs: demo-2, demo-core"):
        chosen(None, "cfg01")


def test_down_without_a_lab_is_fine(state: Path) -> None:
    done = CliRunner().invoke(lab, ["down"])
    assert (done.exit_code, done.output) == (0, "no lab is up\n")
