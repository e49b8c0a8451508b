"""Users of the cloud find their images and objects, whichever host is away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from saltern.lab.cluster import last_json
from tests.support.cluster import PYTHON, Cluster, eventually

CLIENT = """
import json, sys, time, openstack, requests
cloud = openstack.connect(cloud="admin")
images, words = cloud.image, sys.argv[1:]
CA = "/etc/saltern/pki/ca.crt"
def upload(name, size):
    made = images.create_image(name, container_format="bare", disk_format="raw",
                               allow_duplicates=True, meta={"visibility": "private"})
    made.data = bytes(range(256)) * (size // 256)
    made.upload(images)
    return {"id": made.id, "url": images.get_image(made).direct_url}
def download(image):
    return images.download_image(image).content == bytes(range(256)) * (SIZE // 256)
def ask(host):
    token = openstack.connect(cloud="admin").session.get_token()
    url = f"https://{host}:7480/swift/v1/AUTH_{cloud.current_project_id}"
    return requests.get(url, headers={"X-Auth-Token": token}, verify=CA, timeout=30).status_code
def idle(seconds, *hosts):
    answers = [ask(host) for host in hosts]
    time.sleep(float(seconds))
    return answers + [ask(host) for host in hosts]
SIZE = 8 << 20
found = {"upload": lambda name: upload(name, SIZE), "download": download, "idle": idle,
         "delete": lambda image: images.delete_image(image)}[words[0]](*words[1:])
print(json.dumps({"answer": found}))
"""
NOVA = "rbd --id nova --keyring /run/nova.keyring"


def client(cluster: Cluster, *words: str) -> Any:
    """Do something as the administrator, through the virtual address."""
    done = cluster.run(cluster.master, PYTHON, "-c", CLIENT, *words)
    return last_json(done.stdout)["answer"]


def downloads(cluster: Cluster, image: str) -> bool:
    """Whether an image comes as it was; a refused request is no answer."""
    argv = [PYTHON, "-c", CLIENT, "download", image]
    found = last_json(cluster.run(cluster.master, *argv, check=False).stdout)
    return bool(found == {"answer": True})


@pytest.fixture
def image(cluster: Cluster) -> Iterator[dict[str, str]]:
    """A raw image of 8 MiB: id, and the URL that says where it is."""
    made = client(cluster, "upload", "a-test")
    yield made
    client(cluster, "delete", made["id"])


def sanity(cluster: Cluster) -> dict[str, str]:
    """Run all checks, which must pass; check -> what was seen."""
    code, found, printed = cluster.salt_run("sanity.run", "data=True")
    assert code == 0, printed[-3000:]
    return {row["check"]: row["sentence"] for row in found["data"]}


def test_the_checks_of_users_pass(cluster: Cluster) -> None:
    seen = sanity(cluster)
    assert "from each of 3 members too" in seen["image"]
    assert {"object by Swift", "object by S3", "token", "inventory"} <= set(seen)


def test_a_second_deployment_changes_nothing(cluster: Cluster) -> None:
    states = cluster.orchestrate("deploy")
    assert not {key: state["changes"] for key, state in states.items() if state["changes"]}


def test_nova_clones_an_image_and_may_not_change_it(
    cluster: Cluster, image: dict[str, str]
) -> None:
    source = image["url"].removeprefix("rbd://").partition("/")[2].replace("/snap", "@snap")
    assert source == f"images/{image['id']}@snap"
    cluster.run("mon01", "ceph", "auth", "get", "client.nova", "-o", "/run/nova.keyring")
    try:
        cluster.run("mon01", "sh", "-c", f"{NOVA} clone {source} vms/a-test")
        shown = cluster.run("mon01", "sh", "-c", f"{NOVA} info vms/a-test").stdout
        assert f"parent: {source}" in shown
        # copied would be two objects of 4 MiB
        prefix = next(line.split()[-1] for line in shown.splitlines() if "block_name" in line)
        held = cluster.run("mon01", "rados", "-p", "vms", "ls").stdout
        assert prefix not in held
        for words in (f"snap create images/{image['id']}@mine", f"rm images/{image['id']}"):
            done = cluster.run("mon01", "sh", "-c", f"{NOVA} --no-progress {words}", check=False)
            assert done.returncode != 0, words
        cluster.run("mon01", "sh", "-c", f"{NOVA} --no-progress rm vms/a-test")
    finally:
        cluster.run("mon01", "rm", "-f", "/run/nova.keyring")


def test_a_gateway_that_was_idle_refuses_nobody(cluster: Cluster) -> None:
    """Longer than HAProxy keeps a connection open, which is ten seconds."""
    gateways = [f"mon0{n}.demo.test" for n in (2, 3)]
    answers = client(cluster, "idle", "13", *gateways)
    assert len(answers) == 4
    assert set(answers) <= {200, 204}


def test_images_and_objects_stay_with_hosts_away(cluster: Cluster, image: dict[str, str]) -> None:
    stopped = (("ctl01", "glance-api"), ("ctl02", "glance-api"), ("mon02", "ceph-radosgw@rgw"))
    try:
        for host, unit in stopped:
            cluster.run(host, "systemctl", "stop", unit)
        # HAProxy asks each of them once in a while
        assert eventually(lambda: downloads(cluster, image["id"]), 60)
        code, found, printed = cluster.salt_run("sanity.run", "data=True")
        rows = {row["check"]: row["ok"] for row in found["data"]}
        assert (rows["object by Swift"], rows["object by S3"]) == (True, True), printed[-3000:]
        # those that are away are named
        assert code == 1
        assert "ctl01" in found["comment"]
    finally:
        for host, unit in stopped:
            cluster.run(host, "systemctl", "start", unit)
