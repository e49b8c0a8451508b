"""The Kitchenfile is whole: every suite renders on every platform and has its verifier."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.support import TREE, formula_roles, kitchen
from tests.support.render import Renderer, unmet

SUITES = kitchen.read()
#: platform of the Kitchenfile -> code name
CODE_NAMES = {
    "debian-12": "bookworm",
    "debian-13": "trixie",
    "ubuntu-22.04": "jammy",
    "ubuntu-24.04": "noble",
}
#: roles that make sense in a cluster only; the lab's tests are their suite
IN_A_CLUSTER = {
    "backup.scheduler", "ceph.probe", "keystone.keys", "openstack.client", "openstack.identity",
    "openstack.resources", "salt.api", "salt.master",
    # they need a database, a broker and Keystone
    "cinder.api", "cinder.backup", "cinder.common", "cinder.scheduler", "cinder.volume",
    "heat.server",
    # Nova's processes end where Keystone has no account of theirs
    "nova.api", "nova.common", "nova.compute", "nova.conductor", "nova.database", "nova.metadata",
    "nova.novncproxy", "nova.scheduler",
    "tempest.client",
    # they need what those need, and Neutron
    "octavia.server",
    # and these, name servers
    "designate.api", "designate.central", "designate.common", "designate.mdns",
    "designate.producer", "designate.worker",
    # and these, machines
    "ironic.api", "ironic.common", "ironic.conductor",
}  # fmt: skip
SOURCE = {"url": "file:///srv/x.tar.zst", "sha256": "0" * 64}


def test_platforms_are_those_that_formulas_know() -> None:
    data = yaml.safe_load((TREE / "Kitchenfile").read_text())
    assert [platform["name"] for platform in data["platforms"]] == list(CODE_NAMES)
    names = [suite["name"] for suite in data["suites"]]
    assert len(names) == len(set(names))
    for suite in data["suites"]:
        assert {*suite.get("includes", ()), *suite.get("excludes", ())} <= set(CODE_NAMES)


def test_every_suite_has_its_verifier() -> None:
    names = {suite.name for suite in SUITES}
    directories = {path.parent.name for path in (TREE / "tests/kitchen").glob("*/test_*.py")}
    assert names == directories


def test_every_role_is_in_a_suite() -> None:
    covered = {state for suite in SUITES for state in suite.states}
    assert {f"{s}.{r}" for s, r in formula_roles()} - IN_A_CLUSTER == covered


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: f"{suite.name}-{suite.platform}")
def test_a_suite_renders(suite: kitchen.Suite, salt_cache: Path) -> None:
    code_name = CODE_NAMES[suite.platform]
    grains = {"ip4_interfaces": {"eth0": ["192.0.2.5"]}, "oscodename": code_name}
    pillar = kitchen.pillar(suite, grains)
    for service in ("barbican", "horizon", "keystone", "glance", "neutron", "placement"):
        if service in pillar:
            pillar[service]["server"]["source"] = SOURCE
    renderer = Renderer(pillar, code_name, salt_cache)
    try:
        chunks = renderer.low(*suite.states)
        problems = [p for chunk in chunks for p in renderer.highstate.state.verify_data(chunk)]
        assert not problems
        assert not list(unmet(chunks))
        assert {chunk["__sls__"] for chunk in chunks} >= set(suite.states)
    finally:
        renderer.close()
