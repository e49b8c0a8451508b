"""A hypervisor of Nova: what its process reads, and what it may do as root."""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.formulas.conftest import Pillars
from tests.support import TREE
from tests.support.render import Low, Renderer

Render = Callable[..., dict[tuple[str, str], Low]]
BIN = "/opt/openstack/2025.1/nova/bin"


@pytest.fixture
def render(pillars: Pillars, salt_cache: Path) -> Iterator[Render]:
    """Render ``nova.compute`` for a hypervisor, with changes to ``nova:<role>``."""
    made = []

    def get(role: str = "nova.compute", **changes: Any) -> dict[tuple[str, str], Low]:
        found = next(p for p in pillars.values() if role in p["__reclass__"]["applications"])
        pillar = copy.deepcopy(found)
        for part, data in changes.items():
            pillar["nova"][part].update(data)
        renderer = Renderer(pillar, "bookworm", salt_cache)
        made.append(renderer)
        return {(str(c["state"]), str(c["name"])): c for c in renderer.low(role)}

    yield get
    for each in made:
        each.close()


def config(found: dict[tuple[str, str], Low]) -> dict[str, Any]:
    data: dict[str, Any] = found["file", "/etc/nova/nova-compute.conf"]["context"]["data"]
    return data


def test_disks_in_ceph_are_opened_as_the_user_whose_secret_libvirt_has(render: Render) -> None:
    found = config(render())["libvirt"]
    assert (found["images_type"], found["images_rbd_pool"]) == ("rbd", "vms")
    assert found["rbd_user"] == "nova"
    assert re.fullmatch(r"[0-9a-f-]{36}", found["rbd_secret_uuid"])


def test_disks_of_the_host_name_no_pool(render: Render) -> None:
    found = config(render(compute={"images": {"type": "qcow2"}}))["libvirt"]
    assert found["images_type"] == "qcow2"
    assert not {"images_rbd_pool", "rbd_user", "rbd_secret_uuid"} & set(found)


def test_guests_move_over_tls_to_a_name_that_a_certificate_has(render: Render) -> None:
    found = config(render())["libvirt"]
    assert (found["live_migration_scheme"], found["live_migration_with_native_tls"]) == (
        "tls", True
    )  # fmt: skip
    assert re.fullmatch(r"cmp\d+\.[a-z]+\.test", found["live_migration_inbound_addr"])


def test_a_compute_reads_no_database(render: Render) -> None:
    found = render()
    command = found["file", "/etc/systemd/system/nova-compute.service"]["context"]["command"]
    assert command == (
        f"{BIN}/nova-compute --config-file /etc/nova/nova.conf"
        " --config-file /etc/nova/nova-compute.conf"
    )
    assert not {"database", "api_database"} & set(config(found))


def test_root_is_reached_by_one_call_of_one_helper(render: Render) -> None:
    found = render()
    rule = found["file", "/etc/sudoers.d/nova"]["contents"][-1]
    program, arguments = re.fullmatch(
        r"nova ALL = \(root\) NOPASSWD: (\S+) (\^.*\$)", rule
    ).groups()  # type: ignore[union-attr]
    files = "--config-file /etc/nova/nova.conf --config-file /etc/nova/nova-compute.conf"
    socket = "--privsep_sock_path /tmp/tmp8a_k2x1q/privsep.sock"
    helpers = {
        section["helper_command"]
        for section in config(found).values()
        if isinstance(section, dict) and "helper_command" in section
    }
    assert helpers == {f"sudo -n {program} {files}"}
    context = "--privsep_context nova.privsep.sys_admin_pctxt"
    assert re.search(arguments, f"{files} {context} {socket}")
    for other in (
        f"{files} --privsep_context os.system {socket}",
        f"--config-file /tmp/nova.conf {context} {socket}",
        f"{files} --config-file /tmp/nova.conf {context} {socket}",
        f"{files} {context} {socket} --config-file /tmp/nova.conf",
    ):
        assert not re.search(arguments, other), other


def test_a_compute_in_a_container_is_refused(render: Render) -> None:
    source = {"engine": "container", "image": "registry.example.test/nova@sha256:" + "0" * 64}
    found = render(common={"source": source})
    assert [state for state, _ in found] == ["test"]


def test_a_compute_that_is_switched_off_only_stops(render: Render) -> None:
    found = render(compute={"enabled": False})
    assert [(state, one["fun"]) for (state, _), one in found.items()] == [("service", "dead")]


def test_builds_that_a_conductor_lost_are_looked_for(render: Render) -> None:
    found = render("nova.conductor", conductor={"lost_builds_after": 300})
    program = found["file", "/etc/nova/builds.py"]["source"].removeprefix("salt://")
    ast.parse((TREE / "formulas" / program).read_text())
    unit = found["file", "/etc/systemd/system/nova-builds.service"]["context"]
    assert (unit["limit"], unit["python"]) == (300, f"{BIN}/python")
    assert "--config-file /etc/nova/nova-control.conf" in unit["arguments"]
    assert found["service", "nova-builds.timer"]["fun"] == "running"


def test_or_left_alone(render: Render) -> None:
    found = render("nova.conductor", conductor={"lost_builds_after": 0})
    assert ("file", "/etc/nova/builds.py") not in found
    assert found["file", "/etc/systemd/system/nova-builds.service"]["fun"] == "absent"
    assert found["service", "nova-builds.timer"]["fun"] == "dead"
