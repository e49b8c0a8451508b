"""A real cloud on loopback, and Salt's own loaders pointed at it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from saltern.errors import SalternError
from tests.support import TREE
from tests.support.cloud import ADMIN_PASSWORD, SERVICE_PASSWORD, Cloud, cloud

salt_config = pytest.importorskip("salt.config")
pytest.importorskip("openstack")


@pytest.fixture(scope="session", autouse=True)
def _no_deferred_log() -> None:
    """Salt keeps early log records for a handler that tests never set up."""
    import salt._logging

    salt._logging.shutdown_temp_handler()


@pytest.fixture(scope="module")
def bare_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """Keystone with an administrator and an empty catalogue; no module meets another's leavings."""
    try:
        with cloud(tmp_path_factory.mktemp("cloud")) as running:
            yield running
    except SalternError as err:
        pytest.skip(f"no cloud on loopback: {err}")


def model(running: Cloud) -> dict[str, Any]:
    """Pillar `openstack` as the service classes of the three services make it."""
    urls = running.urls
    services = {"keystone": "identity", "glance": "image", "placement": "placement"}
    members = ("glance", "placement")
    client = {
        "auth": {"url": urls["keystone"], "password": ADMIN_PASSWORD},
        "verify": {"attempts": 5, "interval": 0.2},
    }
    identity = {
        "project": {"service": {"description": "Service users of the control plane"}},
        "role": {"admin": {}, "service": {}},
        "service": {name: {"type": kind} for name, kind in services.items()},
        "endpoint": {
            name: {
                "service": name,
                "url": dict.fromkeys(("public", "internal", "admin"), urls[name]),
            }
            for name in services
        },
        "user": {
            name: {"password": SERVICE_PASSWORD, "default_project": "service"} for name in members
        },
        "role_assignment": {
            f"{name}-{role}": {"user": name, "project": "service", "role": role}
            for name in members
            for role in ("admin", "service")
        },
    }
    return {"client": client, "identity": identity}


@dataclass
class Minion:
    """Salt's loaders of one minion, with a cold `__context__`.

    ``run(state, **arguments)`` calls a state function; ``call(function, …)`` a module function.
    """

    opts: dict[str, Any]
    states: Any
    modules: Any

    def run(self, state: str, *, test: bool = False, **arguments: Any) -> dict[str, Any]:
        self.opts["test"] = self.states.opts["test"] = self.modules.opts["test"] = test
        return dict(self.states[state](**arguments))

    def call(self, function: str, *args: Any, **kwargs: Any) -> Any:
        return self.modules[function](*args, **kwargs)


@pytest.fixture
def make_minion(tmp_path: Path) -> Callable[..., Minion]:
    """Return a function that builds a minion with a pillar."""

    def build(pillar: dict[str, Any], **options: Any) -> Minion:
        import salt.loader

        opts = salt_config.minion_config(None)
        opts.update(
            root_dir=str(tmp_path),
            cachedir=str(tmp_path / "cache"),
            extension_modules=str(tmp_path / "extmods"),
            module_dirs=[str(TREE)],
            file_client="local",
            file_roots={"base": [str(TREE / "formulas")]},
            pillar=pillar,
            id="cfg01.example.test",
            test=False,
            **options,
        )
        opts["grains"] = {"oscodename": "bookworm", "os": "Debian", "os_family": "Debian"}
        context: dict[str, Any] = {}
        modules = salt.loader.minion_mods(opts, context=context)
        serializers = salt.loader.serializers(opts)
        states = salt.loader.states(opts, modules, {}, serializers, context=context)
        return Minion(opts, states, modules)

    return build


@pytest.fixture
def clouds_yaml(tmp_path: Path, make_minion: Callable[..., Minion]) -> Callable[[Cloud], Path]:
    """Return a function that renders the formula's own clouds.yaml for a cloud."""

    def render(running: Cloud) -> Path:
        import salt.utils.templates

        minion = make_minion({"openstack": model(running)})
        source = TREE / "formulas/openstack/files/clouds.yaml.jinja"
        done = salt.utils.templates.JINJA(
            str(source),
            to_str=True,
            opts=minion.opts,
            salt=minion.modules,
            grains=minion.opts["grains"],
            pillar=minion.opts["pillar"],
            saltenv="base",
            context={},
        )
        assert done["result"], done["data"]
        path = tmp_path / "clouds.yaml"
        path.write_text(done["data"])
        path.chmod(0o600)
        assert yaml.safe_load(done["data"])["clouds"]["admin"]["auth"]["password"]
        return path

    return render


@pytest.fixture
def minion(
    bare_cloud: Cloud,
    make_minion: Callable[..., Minion],
    clouds_yaml: Callable[[Cloud], Path],
) -> Minion:
    """A minion with administrator credentials of the cloud on loopback."""
    return make_minion(
        {"openstack": model(bare_cloud)},
        **{"openstack.clouds_file": str(clouds_yaml(bare_cloud))},
    )


def apply(minion: Minion, sls: str = "openstack.identity", test: bool = False) -> list[Any]:
    """Run the API states of an SLS in their order; return ``[(id, return), …]``.

    The file states of the SLS would write below /etc and are the lab's to test.
    """
    lows = minion.call("state.show_low_sls", sls)
    assert all(isinstance(low, dict) for low in lows), lows
    done = []
    for low in sorted(lows, key=lambda low: low["order"]):
        if low["state"].startswith("openstack_"):
            own = ("state", "fun", "name", "order", "require", "__id__", "__sls__", "__env__")
            arguments = {key: value for key, value in low.items() if key not in own}
            answer = minion.run(
                f"{low['state']}.{low['fun']}", name=low["name"], test=test, **arguments
            )
            done.append((low["__id__"], answer))
    return done


@pytest.fixture(scope="module")
def served_cloud(bare_cloud: Cloud) -> Cloud:
    """The cloud with Glance and Placement started; their users are made by a test's minion."""
    for service in ("glance", "placement"):
        bare_cloud.start(service)
    return bare_cloud
