"""The modules over a cluster in memory, as Salt's loader would join them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from saltern.modules import (
    ceph_backup,
    ceph_client,
    ceph_cluster,
    ceph_daemon,
    ceph_data,
    ceph_disk,
    ceph_flag,
    ceph_gate,
    ceph_host,
    ceph_map,
    ceph_monitor,
    ceph_rescue,
    ceph_rotate,
    ceph_upmap,
    readback,
)
from saltern.states import ceph_config, ceph_crush, ceph_key, ceph_osd, ceph_pool
from tests.support.rados import Cluster, library

MODULES = (
    ceph_backup, ceph_client, ceph_cluster, ceph_daemon, ceph_data, ceph_disk, ceph_flag, ceph_gate,
    ceph_host, ceph_map, ceph_monitor, ceph_rescue, ceph_rotate, ceph_upmap, readback,
)  # fmt: skip
STATES = (ceph_config, ceph_crush, ceph_key, ceph_osd, ceph_pool)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cluster:
    """A healthy cluster that this host may ask as ``client.admin``."""
    made = Cluster()
    monkeypatch.setitem(sys.modules, "rados", library(made))
    (tmp_path / "ceph.client.admin.keyring").touch()
    monkeypatch.setattr(ceph_cluster, "CONF", str(tmp_path / "ceph.conf"))
    return made


@pytest.fixture
def loaded(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[..., Any]]:
    """What modules and states find in ``__salt__``; a test may put more into it."""
    functions: dict[str, Callable[..., Any]] = {
        f"{module.__name__.rpartition('.')[2]}.{name}": getattr(module, name)
        for module in MODULES
        for name in dir(module)
        if not name.startswith("_") and callable(getattr(module, name))
    }
    pillar = {"host": {"name": "mon01"}, "ceph": {"common": {"fsid": cluster.fsid}}}
    for part in (*MODULES, *STATES):
        monkeypatch.setattr(part, "__salt__", functions, raising=False)
        monkeypatch.setattr(part, "__pillar__", pillar, raising=False)
        monkeypatch.setattr(part, "__grains__", {"id": "mon01.example.test"}, raising=False)
        monkeypatch.setattr(part, "__opts__", {"test": False}, raising=False)
    return functions


@pytest.fixture
def test_mode(loaded: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """States predict only."""
    for part in STATES:
        monkeypatch.setattr(part, "__opts__", {"test": True}, raising=False)
