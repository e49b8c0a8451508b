"""A host is started from another image: itself still, its state there, whatever was interrupted."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from saltern.adapters.provisioning import SocketDriver
from saltern.errors import LabError
from saltern.lab import background, disk
from saltern.lab.fresh import use_offline_repo
from saltern.lab.hosts import repo_bind
from saltern.lab.image import cached_image, ensure_image
from saltern.lab.nspawn import NspawnProvider
from saltern.lab.provider import HostSpec
from saltern.lab.provisioner import run_beside, socket_bind, socket_path
from saltern.lab.repo import ensure_repo
from tests.support.hosts import why_no_hosts

LAB = "reimage-test"
NODE = "app.reimage.test"
KEEP = ["/var/lib/app", "/srv/data"]

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def lab() -> Iterator[NspawnProvider]:
    """One host with state, one that stands for the deployment, and a provisioner."""
    reason = why_no_hosts()
    if reason:
        pytest.skip(reason)
    provider = NspawnProvider(LAB)
    provider.down()
    try:
        image = ensure_image("bookworm")
        ensure_repo(ensure_image("trixie"))
        repo = repo_bind(image)
        specs = [
            HostSpec("app", NODE, "10.77.8.1", binds=(repo,)),
            HostSpec("cfg", "cfg.reimage.test", "10.77.8.2", binds=(repo, socket_bind(LAB))),
        ]
        provider.up(specs, lambda spec, root: use_offline_repo(spec.image, root))
        run_beside(LAB)
        provider.exec("app", ["sh", "-c", STATE])
        yield provider
    finally:
        provider.down()
        assert background.find(provider.directory) is None


STATE = """set -e
useradd --system --uid 105 app
mkdir -p /var/lib/app /srv/data /etc/saltern
echo precious > /var/lib/app/state
truncate -s 1G /srv/data/block
chown -R app:app /var/lib/app
echo key > /etc/saltern/host.key
echo gone > /var/lib/gone
mkdir -p /etc/salt/pki/minion; echo pem > /etc/salt/pki/minion/minion.pem
"""


def driver() -> SocketDriver:
    return SocketDriver(str(socket_path(LAB)))


def read(lab: NspawnProvider, *paths: str) -> list[str]:
    done = lab.exec("app", ["cat", *paths], check=False)
    return done.stdout.split()


def codename(lab: NspawnProvider) -> str:
    told = lab.exec("app", ["sh", "-c", ". /etc/os-release; echo $VERSION_CODENAME"])
    return told.stdout.strip()


def test_a_host_comes_back_from_another_image_with_its_state(lab: NspawnProvider) -> None:
    mine = read(lab, "/etc/machine-id")
    inode = lab.exec("app", ["stat", "-c", "%i %b", "/srv/data/block"]).stdout
    assert driver().reimage(NODE, "trixie", KEEP)["changed"] is True
    assert codename(lab) == "trixie"
    assert driver().hosts()[NODE]["image"] == "trixie"
    assert read(lab, "/var/lib/app/state", "/etc/saltern/host.key") == ["precious", "key"]
    assert read(lab, "/etc/salt/pki/minion/minion.pem") == ["pem"]
    assert read(lab, "/etc/machine-id") == mine
    assert lab.exec("app", ["stat", "-c", "%U", "/var/lib/app/state"]).stdout == "app\n"
    assert lab.exec("app", ["stat", "-c", "%i %b", "/srv/data/block"]).stdout == inode
    assert lab.exec("app", ["test", "-e", "/var/lib/gone"], check=False).returncode == 1
    # packages and a Salt of its own image
    lab.exec("app", ["apt-get", "-q", "update"])
    assert "/srv/repo/trixie" in lab.exec("app", ["apt-cache", "policy", "nginx"]).stdout
    assert lab.exec("app", ["salt-call", "--version"]).stdout
    enabled = lab.exec("app", ["systemctl", "is-enabled", "salt-minion"], check=False)
    assert enabled.stdout == "enabled\n"


def test_a_host_that_runs_on_the_image_is_left_alone(lab: NspawnProvider) -> None:
    before = lab.leader("app")
    assert driver().reimage(NODE, "trixie", KEEP)["changed"] is False
    assert lab.leader("app") == before


def test_what_a_crash_left_half_done_is_finished_by_a_start(lab: NspawnProvider) -> None:
    image = cached_image("bookworm")
    assert image is not None
    place, was = lab.root("app").parent, Path(lab.record()["hosts"]["app"]["root_image"])
    binds = [vars(repo_bind(image))]
    work = disk.plan(place, "bookworm", image.root, was, binds, [*KEEP, "/etc/machine-id"])
    lab.stop("app", hard=True)
    disk.begin(place, work)
    # one kept directory is moved, then everything ends
    os.makedirs(place / "upper.new/var/lib")
    os.rename(place / "upper/var/lib/app", place / "upper.new/var/lib/app")
    assert driver().hosts()[NODE]["unfinished"] == "bookworm"
    lab.start("app")
    assert codename(lab) == "bookworm"
    assert read(lab, "/var/lib/app/state") == ["precious"]
    assert driver().hosts()[NODE] == {"image": "bookworm", "state": "running", "unfinished": ""}


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (("no.such.host", "trixie", []), "has no host 'no.such.host'"),
        ((NODE, "sid", []), "no image 'sid'"),
        (("cfg.reimage.test", "trixie", []), "carries the deployment itself"),
        ((NODE, "trixie", ["/usr/lib"]), "cannot be kept"),
        ((NODE, "trixie", ["/var/lib/../../etc"]), "cannot be kept"),
    ],
)
def test_what_it_does_not_do(lab: NspawnProvider, asked: tuple, sentence: str) -> None:
    before = lab.leader("app")
    with pytest.raises(LabError, match=sentence):
        driver().reimage(*asked)
    assert lab.leader("app") == before


def test_only_root_and_the_master_may_ask(lab: NspawnProvider) -> None:
    asking = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect("/srv/saltern/provisioner/socket")
s.sendall(b"GET /hosts HTTP/1.0\\r\\n\\r\\n")
try:
    sys.stdout.write(s.makefile().read().split("\\n")[-1])
except ConnectionResetError:
    pass
"""
    as_root = lab.exec("cfg", ["python3", "-c", asking]).stdout
    assert json.loads(as_root)["lab"] == LAB
    nobody = ["setpriv", "--reuid=65534", "--clear-groups", "python3", "-c", asking]
    assert lab.exec("cfg", nobody).stdout == ""
    elsewhere = ["test", "-e", "/srv/saltern/provisioner"]
    assert lab.exec("app", elsewhere, check=False).returncode == 1
