"""The runner: from the master's configuration and a model tree to a return with an exit code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.functional.cloud.conftest import Minion, apply, model
from tests.support import TREE
from tests.support.cloud import ADMIN_PASSWORD, Cloud

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def site(tmp_path: Path, minion: Minion, served_cloud: Cloud) -> dict[str, Any]:
    """Master options for a model of one node, which is this machine."""
    if not minion.call("openstack_identity.find", "service", {"name": "placement"}):
        assert all(answer["result"] for _, answer in apply(minion))
    tree = tmp_path / "model"
    (tree / "classes").mkdir(parents=True)
    (tree / "nodes/loopback").mkdir(parents=True)
    node = {
        "applications": [
            "openstack.client", "keystone.server", "glance.server", "placement.server",
        ],
        "parameters": {
            "_param": {"cluster_name": "loopback", "cluster_domain": "test"},
            "host": {"name": "localhost", "fqdn": "localhost", "address": "127.0.0.1"},
            "openstack": model(served_cloud),
        },
    }  # fmt: skip
    (tree / "nodes/loopback/localhost.yml").write_text(yaml.safe_dump(node))
    return {
        "saltern": {"cluster": "loopback", "model": str(tree)},
        "ext_pillar": [{"saltern_model": {"path": str(tree)}}],
    }


@pytest.fixture
def sanity(tmp_path: Path, site: dict[str, Any]) -> Run:
    """Return a function that calls `sanity.run` through Salt's runner loader."""

    def call(**kwargs: Any) -> dict[str, Any]:
        import salt.config
        import salt.loader

        opts = salt.config.master_config(None)
        opts.update(
            root_dir=str(tmp_path),
            cachedir=str(tmp_path / "cache"),
            extension_modules=str(tmp_path / "extmods"),
            module_dirs=[str(TREE)],
            **site,
        )
        return dict(salt.loader.runner(opts)["sanity.run"](**kwargs))

    return call


def test_a_good_cloud(sanity: Run) -> None:
    done = sanity()
    assert (done["result"], done["retcode"], done["failures"]) == (True, 0, []), done
    assert done["comment"].startswith("Sanity of loopback: 6 checks passed")
    assert done["table"].count(" ok ") == 6
    assert ADMIN_PASSWORD not in str(done)
    rows = sanity(data=True)["data"]
    assert [row["where"] for row in rows] == ["localhost", *["VIP"] * 5]


def test_a_failed_check_is_exit_code_1(sanity: Run, site: dict[str, Any]) -> None:
    file = Path(site["saltern"]["model"]) / "nodes/loopback/localhost.yml"
    file.write_text(file.read_text().replace(ADMIN_PASSWORD, "another-password"))
    done = sanity(cluster="loopback")
    assert (done["result"], done["retcode"]) == (False, 1)
    assert len(done["failures"]) == 6
    assert "another-password" not in str(done)


def test_what_cannot_begin_is_exit_code_2(sanity: Run, site: dict[str, Any]) -> None:
    done = sanity(cluster="none-such")
    assert (done["result"], done["retcode"]) == (False, 2)
    assert "none-such" in done["comment"]
    site["ext_pillar"] = []
    assert "no ext_pillar saltern_model" in sanity()["comment"]


def test_ciphertext_without_a_key_is_exit_code_2(sanity: Run, site: dict[str, Any]) -> None:
    message = "-----BEGIN PGP MESSAGE-----\n\nabc\n-----END PGP MESSAGE-----"
    file = Path(site["saltern"]["model"]) / "nodes/loopback/localhost.yml"
    data = yaml.safe_load(file.read_text())
    data["parameters"]["openstack"]["client"]["auth"]["password"] = message
    file.write_text(yaml.safe_dump(data))
    done = sanity()
    assert (done["result"], done["retcode"], done["code"]) == (False, 2, "secret")
