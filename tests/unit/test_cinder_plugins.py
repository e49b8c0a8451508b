"""A volume group is used only where the kernel and the host have it; the reason is one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from saltern.modules import cinder_service
from saltern.states import cinder_volume


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Volume groups of a host whose kernel has device-mapper; a test may take either away."""
    found = ["cinder-volumes"]

    def run_all(argv: list[str], **_: Any) -> dict[str, Any]:
        assert argv[0] == "vgs"
        return {"retcode": 0 if argv[-1] in found else 5, "stdout": "", "stderr": ""}

    monkeypatch.setattr(cinder_service, "DEVICE_MAPPER", str(tmp_path / "control"))
    (tmp_path / "control").touch()
    functions = {
        "cmd.run_all": run_all,
        "file.access": lambda path, mode: Path(path).exists(),
        "cinder_service.group": cinder_service.group,
    }
    monkeypatch.setattr(cinder_service, "__salt__", functions, raising=False)
    monkeypatch.setattr(cinder_volume, "__salt__", functions, raising=False)
    return found


def test_a_group_that_is_there_is_usable_and_nothing_changes(groups: list[str]) -> None:
    ret = cinder_volume.group_usable("local", "cinder-volumes")
    assert (ret["result"], ret["changes"]) == (True, {})


def test_a_group_that_is_missing_is_named(groups: list[str]) -> None:
    groups.clear()
    ret = cinder_volume.group_usable("local", "cinder-volumes")
    assert ret["result"] is False
    assert "no volume group cinder-volumes on this host" in ret["comment"]


def test_a_kernel_without_device_mapper_is_told_before_anything_is_run(
    groups: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "control").unlink()
    monkeypatch.setitem(cinder_service.__salt__, "cmd.run_all", None)
    ret = cinder_volume.group_usable("local", "cinder-volumes")
    assert ret["result"] is False
    assert ret["comment"].startswith("the back end local cannot work: this host's kernel has no")
    assert "take another engine" in ret["comment"]
