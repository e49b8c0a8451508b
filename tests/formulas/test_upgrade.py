"""The phases of an upgrade that roles declare are there and render, where a formula has any."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import yaml

from saltern.plan.steps import PLAIN, WAVE_PHASES
from tests.support import TREE, formula_roles
from tests.support.render import PLATFORMS, Low, Renderer, unmet


def declared() -> dict[tuple[str, str], list[str]]:
    """SLS of the phases that roles declare, by role, of services that have any."""
    found: dict[tuple[str, str], list[str]] = {}
    for service, role in formula_roles():
        if not (TREE / "formulas" / service / "upgrade").is_dir():
            continue
        path = TREE / "classes/service" / service / f"{role}.yml"
        lifecycle = yaml.safe_load(path.read_text())["parameters"]["lifecycle"]
        found[service, role] = [
            f"{service}.upgrade.{phase}"
            for phase in lifecycle[f"{service}.{role}"].get("upgrade", [])
            if phase not in (*WAVE_PHASES, PLAIN, "backup")
        ]
    return found


DECLARED = declared()
PHASES = sorted({phase for phases in DECLARED.values() for phase in phases})


def test_every_phase_is_declared_and_every_declared_one_is_there() -> None:
    assert PHASES
    for service in {service for service, _ in DECLARED}:
        phases = {p for (of, _), names in DECLARED.items() if of == service for p in names}
        files = (TREE / "formulas" / service / "upgrade").glob("*.sls")
        found = {f"{service}.upgrade.{path.stem}" for path in files}
        # a wave verifies by itself; the phase of that name is for people, and part of another one
        assert found - {f"{service}.upgrade.verify"} == phases


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("phase", PHASES)
def test_a_phase_renders_for_each_kind_of_host(
    phase: str,
    platform: str,
    node_of: Callable[[str], str],
    renderer: Callable[[str, str], Renderer],
) -> None:
    service = phase.partition(".")[0]
    for role in (
        role for (of, role), names in DECLARED.items() if of == service and phase in names
    ):
        made = renderer(node_of(f"{service}.{role}"), platform)
        chunks = made.low(phase)
        assert not [p for chunk in chunks for p in made.highstate.state.verify_data(chunk)]
        assert not list(unmet(chunks))
        assert all(chunk["__id__"].startswith(f"{service}-upgrade-") for chunk in chunks)


def packages(chunks: list[Low]) -> list[str]:
    return [name for chunk in chunks if chunk["state"] == "pkg" for name in chunk["pkgs"]]


def test_the_packages_of_all_daemons_of_a_host_go_together(
    node_of: Callable[[str], str], renderer: Callable[[str, str], Renderer]
) -> None:
    for role, wanted in (("mon", {"ceph-mon", "ceph-mgr"}), ("osd", {"ceph-osd"})):
        made = renderer(node_of(f"ceph.{role}"), "bookworm")
        found = packages(made.low("ceph.upgrade.install"))
        assert wanted | {"ceph-common", "python3-rados"} <= set(found)
        assert found == packages(made.low("ceph.upgrade.prefetch"))


def test_the_manager_of_debian_13_gets_what_stands_in_for_its_bcrypt(
    node_of: Callable[[str], str], renderer: Callable[[str, str], Renderer]
) -> None:
    for platform, there in (("trixie", True), ("bookworm", False)):
        chunks = renderer(node_of("ceph.mgr"), platform).low("ceph.mgr")
        names = {chunk["name"] for chunk in chunks if chunk["state"] == "file"}
        assert ("/usr/share/ceph/mgr/bcrypt.py" in names) is there
