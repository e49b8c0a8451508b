"""The runner ``release`` through Salt's own loader: data, sentences, exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import salt.config
import salt.loader
from git import Actor, Repo

from saltern.adapters.journal import open_journal
from saltern.adapters.master import Site
from saltern.adapters.modelsite import ModelSite
from tests.model.trees import write_tree
from tests.support import TREE

ME = Actor("tests", "tests@example.org")
Run = Callable[..., Any]


def content(openstack: str) -> dict[str, Any]:
    """A model of one controller and one hypervisor."""
    params = {
        "_param": {
            "cluster_name": "c1",
            "cluster_domain": "c1.test",
            "openstack_release": openstack,
        }
    }
    roles = {"keystone": "server", "nova": "compute"}
    services: dict[str, Any] = {
        f"classes/service/{service}/{role}.yml": {
            "applications": [f"{service}.{role}"],
            "parameters": {
                service: {role: {"enabled": True}},
                "lifecycle": {f"{service}.{role}": {"stage": "control", "after": []}},
            },
        }
        for service, role in roles.items()
    }
    nodes: dict[str, Any] = {
        f"nodes/c1/{name}.c1.test.yml": {
            "classes": ["cluster.c1", f"service.{service}.{roles[service]}"],
            "parameters": {"host": {"name": name, "address": address, "image": "bookworm"}},
        }
        for name, service, address in (
            ("ctl01", "keystone", "192.0.2.1"),
            ("cmp01", "nova", "192.0.2.2"),
        )
    }
    return {"classes/cluster/c1/init.yml": {"parameters": params}, **services, **nodes}


def commit(top: Path, openstack: str) -> None:
    write_tree(top, content(openstack))
    repo = Repo.init(top)
    repo.git.add("-A")
    repo.index.commit(openstack, author=ME, committer=ME)


@pytest.fixture
def top(tmp_path: Path) -> Path:
    top = tmp_path / "model"
    commit(top, "2024.1")
    return top


@pytest.fixture
def settings(tmp_path: Path, top: Path) -> dict[str, Any]:
    """The ``saltern`` block of a master that keeps revisions."""
    return {
        "cluster": "c1",
        "model": str(top),
        "store": str(tmp_path / "store"),
        "journal": f"sqlite:///{tmp_path / 'journal.db'}",
    }


@pytest.fixture
def run(tmp_path: Path, settings: dict[str, Any]) -> Run:
    """Call a function of the runner; settings of the call replace those of the master."""

    def call(function: str, *args: Any, site: dict[str, Any] | None = None, **kwargs: Any) -> Any:
        opts = salt.config.master_config(None)
        opts.update(
            root_dir=str(tmp_path),
            cachedir=str(tmp_path / "cache"),
            extension_modules=str(tmp_path / "extmods"),
            module_dirs=[str(TREE)],
            saltern=settings if site is None else site,
        )
        done = salt.loader.runner(opts)[f"release.{function}"](*args, **kwargs)
        json.dumps(done)  # what salt-api has to send
        return done

    return call


def test_a_path_from_what_is_served_to_what_is_wanted(
    run: Run, top: Path, settings: dict[str, Any]
) -> None:
    refused = run("path", to=2026.1)
    assert (refused["result"], refused["retcode"]) == (False, 2)  # nothing was deployed yet
    open_journal(settings["journal"]).prepare()
    site = Site.of({"saltern": settings})
    ModelSite(site).compile("HEAD", "tests", "first")
    done = run("path")
    assert (done["result"], done["retcode"]) == (True, 0)
    assert done["comment"] == "There is nothing to do: all is as wanted."
    commit(top, "2026.1")
    done = run("path", data=True)
    assert (done["result"], done["retcode"]) == (True, 0), done
    assert done["data"]["now"]["openstack"] == "2024.1"
    hops = [(hop["product"], hop["after"]) for hop in done["data"]["hops"]]
    assert hops == [
        ("openstack", "2025.1"),
        ("openstack-compute", "2025.1"),
        ("openstack", "2026.1"),
        ("openstack-compute", "2026.1"),
    ]
    # what is served does not become what is wanted by one change of the model
    done = run("path", direct=True)
    assert (done["result"], done["retcode"]) == (False, 1)
    assert "OpenStack 2024.1 cannot become 2026.1 in one hop: 2025.1 is" in done["comment"]
    assert "in the way:" in done["table"]


def test_who_is_still_on_the_older_release(run: Run, top: Path, settings: dict[str, Any]) -> None:
    open_journal(settings["journal"]).prepare()
    model = ModelSite(Site.of({"saltern": settings}))
    model.compile("HEAD", "tests", "first")
    done = run("mixed")
    assert (done["result"], done["verdict"], done["retcode"]) == (True, "ok", 0)
    assert done["table"] == "Every product has one release."
    commit(top, "2025.1")
    newer, _ = model.check("HEAD", {}, "tests")
    assert newer is not None
    model.journal.pin(["ctl01.c1.test"], newer.id, "tests", "the control plane comes first")
    done = run("mixed", data=True)
    assert (done["result"], done["verdict"], done["code"]) == (True, "ok", "ok")
    (found,) = done["data"]
    assert (found["product"], found["newest"], found["days"]) == ("openstack", "2025.1", 14)
    assert found["behind"] == {"cmp01.c1.test": "2024.1"}
    assert found["since"] is not None
    assert "OpenStack is on its way to 2025.1: cmp01 on 2024.1, since" in done["comment"]
    # a tree without revisions has nothing to be between
    plain = {"cluster": "c1", "model": str(top)}
    assert run("mixed", site=plain)["retcode"] == 2


def test_a_path_of_a_tree_without_revisions(run: Run, top: Path) -> None:
    plain = {"cluster": "c1", "model": str(top)}
    done = run("path", site=plain, to=2025.1)
    assert (done["result"], done["retcode"]) == (True, 0), done
    assert done["comment"] == "2 hops: OpenStack 2025.1, nova-compute 2025.1."
    assert "1    OpenStack     2024.1  2025.1  rolling  wanted" in done["table"]
    done = run("path", site=plain, to="2023.2")
    assert (done["result"], done["retcode"]) == (False, 1)
    assert "OpenStack 2024.1 does not go back to 2023.2" in done["comment"]
    done = run("path", site=plain, to=2025.1, now={"openstack": "2023.2"})
    assert len(done["comment"].split(",")) == 4
    # it could not be asked
    assert run("path", site=plain)["retcode"] == 2
    assert run("path", site=plain, to="2036.1")["code"] == "release"
    assert run("path", site=plain, to="squid")["retcode"] == 2
    assert run("path", cluster="c9", site=plain, to=2025.1)["retcode"] == 2


def test_matrix(run: Run) -> None:
    assert "\nrabbitmq " in run("matrix")
    assert run("matrix", "ceph").startswith("Ceph: ")
    assert list(run("matrix", "ceph", data=True)["products"]) == ["ceph"]
    wrong = run("matrix", "nope")
    assert (wrong["result"], wrong["code"], wrong["retcode"]) == (False, "release", 2)
