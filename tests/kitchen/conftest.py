"""Boot one host per suite, converge it twice, and give the verifiers a testinfra host.

``pytest tests/kitchen/<suite> --hosts=ssh://…`` (how Test Kitchen's shell verifier runs it)
checks an instance that Kitchen converged; without ``--hosts`` the lab's hosts are used.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import testinfra
import yaml
from testinfra.host import Host

from saltern.artifact import build as building
from saltern.artifact import pins
from saltern.lab.fresh import use_offline_repo
from saltern.lab.hosts import repo_bind
from saltern.lab.image import ensure_image
from saltern.lab.nspawn import NspawnProvider
from saltern.lab.provider import Bind, HostSpec
from tests.support import TREE, kitchen
from tests.support.hosts import testinfra_host, why_no_hosts

SUITES = kitchen.read()
RELEASE = "2025.1"
#: what `make test` runs; the rest is for `make test-full`
PLATFORM = "debian-12"
#: OpenStack brings up a Keystone first, and the tests of clusters use what they are about anyway
LONG = (
    "barbican",
    "glance",
    "horizon",
    "libvirt",
    "neutron",
    "nova",
    "openvswitch",
    "ovn",
    "placement",
)
#: the generated file of the OpenStack suites, and where their archives appear in the host
ARTIFACT_PILLAR = ".kitchen/artifacts.sls"
ARTIFACTS = "/srv/saltern/artifacts"


@dataclass(frozen=True)
class Instance:
    """A converged host."""

    host: Host
    runs: tuple[kitchen.Converged, ...] = ()


def suites_of(module: str) -> list[kitchen.Suite]:
    """Suites that a test module is about: those named as its directory, or all."""
    directory = module.split(".")[-2]
    return [suite for suite in SUITES if suite.image and directory in (suite.name, "kitchen")]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "instance" not in metafunc.fixturenames:
        return
    hosts = metafunc.config.option.hosts
    if hosts:
        metafunc.parametrize("instance", hosts.split(","), indirect=True, scope="session")
        return
    params = [
        pytest.param(
            suite,
            id=f"{suite.name}-{suite.platform}",
            marks=[pytest.mark.full] if suite.platform != PLATFORM or suite.name in LONG else [],
        )
        for suite in suites_of(metafunc.module.__name__)
    ]
    metafunc.parametrize("instance", params, indirect=True, scope="session")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.kitchen)


def artifacts() -> str:
    """Pillar that names the built artifacts, building them first where they are not cached."""
    manifests = building.ensure("openstack", RELEASE)
    return yaml.safe_dump(pins.parameters(manifests, f"file://{ARTIFACTS}"))


@pytest.fixture(scope="session")
def instance(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Instance]:
    """The host of one suite, converged twice; taken down when the suite's tests are done."""
    suite = request.param
    if isinstance(suite, str):
        yield Instance(testinfra.get_host(suite, sudo=True))
        return
    reason = why_no_hosts()
    if reason:
        pytest.skip(reason)
    building.artifacts_dir().mkdir(parents=True, exist_ok=True)
    sandbox = tmp_path_factory.mktemp(suite.name)
    wanted = suite.provisioner.get("pillars_from_files", {}).values()
    kitchen.lay_out(suite, sandbox, {ARTIFACT_PILLAR: artifacts()} if wanted else {})
    name = suite.provisioner["salt_minion_id"].split(".")[0]
    provider = NspawnProvider(f"kitchen-{suite.name}-{suite.image}")
    spec = HostSpec(
        name=name,
        fqdn=suite.provisioner["salt_minion_id"],
        address="10.87.250.10",
        image=suite.image,
        binds=(
            repo_bind(ensure_image(suite.image)),
            Bind(str(sandbox), kitchen.SANDBOX),
            Bind(str(TREE), kitchen.TREE_IN_HOST),
            Bind(str(building.artifacts_dir()), ARTIFACTS),
        ),
    )
    try:
        provider.down()  # what a killed run may have left
        provider.up([spec], lambda spec, root: use_offline_repo(spec.image, root))
        runs = []
        for _ in range(2):
            done = provider.exec(name, kitchen.CONVERGE, check=False)
            runs.append(kitchen.Converged.parse(done.stdout, done.stderr))
            if runs[-1].problem or runs[-1].failed():
                break
        yield Instance(testinfra_host(provider, name), tuple(runs))
    finally:
        provider.down()
        shutil.rmtree(sandbox, ignore_errors=True)


@pytest.fixture
def host(instance: Instance) -> Host:
    """The host under test; a suite that did not converge fails here, once per verifier."""
    for run in instance.runs:
        if run.problem or run.failed():
            pytest.fail("the suite did not converge, see test_suites.py", pytrace=False)
    return instance.host
