"""Bad input and bad hosts: one clear sentence, before anything is touched, and nothing lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.cluster import Cluster

MODEL = "/srv/saltern/model"
CTL02 = "nodes/demo-core/ctl02.demo-core.test.yml"


@contextmanager
def appended(cluster: Cluster, file: str, text: str) -> Iterator[None]:
    """A model file with some lines more, as a slip of the pen would leave it."""
    path = f"{MODEL}/{file}"
    before = cluster.run(cluster.master, "cat", path).stdout
    try:
        cluster.run(cluster.master, "tee", path, text=before + text)
        yield
    finally:
        cluster.run(cluster.master, "tee", path, text=before)


def jobs(cluster: Cluster) -> set[str]:
    """Every job that the master ever published to minions; its own runners are in the list too."""
    code, listed, printed = cluster.salt_run("jobs.list_jobs")
    assert code == 0, printed[-3000:]
    return {jid for jid, job in listed.items() if not job["Function"].startswith("runner.")}


def refused(cluster: Cluster, *words: str) -> None:
    """The deployment ends with a sentence that has these words, and no minion heard of it."""
    before = jobs(cluster)
    code, _, printed = cluster.salt_run("state.orch", "deploy")
    assert code != 0
    told = " ".join(printed.split())
    for word in words:
        assert word in told, printed[-3000:]
    assert jobs(cluster) == before


def moved(cluster: Cluster) -> None:
    """The deployed revision is the tree as it lies there; stages work from that one."""
    code, _, printed = cluster.salt_run("deploy.preflight")
    assert code == 0, printed[-3000:]


def test_an_unknown_reference_names_file_chain_node_and_key(cluster: Cluster) -> None:
    with appended(cluster, CTL02, "  glance:\n    server:\n      region: ${_param:nowhere}\n"):
        refused(cluster, "ctl02.demo-core.test.yml", "glance:server:region", "_param:nowhere")


def test_an_unknown_class_names_file_and_node(cluster: Cluster) -> None:
    file = "classes/cluster/demo-core/control.yml"
    with appended(cluster, file, "  - system.openstack.nothing\n"):
        refused(cluster, "control.yml", "system.openstack.nothing", "does not exist")


def test_a_schema_violation_names_file_node_and_key(cluster: Cluster) -> None:
    with appended(cluster, CTL02, "  nginx:\n    server:\n      worker_proceses: 3\n"):
        refused(cluster, CTL02, "ctl02.demo-core.test", "nginx:server", "worker_proceses")


def test_a_node_without_a_model_entry_gets_no_pillar(cluster: Cluster) -> None:
    code, data, printed = cluster.salt_run("pillar.show_pillar", "stranger.demo-core.test")
    assert "stranger.demo-core.test" in printed
    assert not {"keystone", "galera", "_param", "topology"} & set(data or {}), printed
    assert code != 0 or "_errors" in (data or {}), printed


def test_a_full_disk_stops_the_deployment_with_host_and_reason(cluster: Cluster) -> None:
    cluster.run("inf03", "mount", "-o", "remount,size=2M", "/tmp")
    try:
        code, _, printed = cluster.salt_run("deploy.preflight")
    finally:
        cluster.run("inf03", "mount", "-o", "remount,size=50%", "/tmp")
    assert code != 0
    assert "inf03.demo-core.test" in printed
    assert "/tmp has" in printed


def test_a_missing_package_stops_the_stage_with_host_and_reason(cluster: Cluster) -> None:
    before = cluster.run("ctl02", "dpkg-query", "-W", "nginx").stdout
    try:
        with appended(cluster, CTL02, "  nginx:\n    server:\n      package: nginx-nowhere\n"):
            moved(cluster)
            code, _, printed = cluster.salt_run("deploy.stage", "foundation")
    finally:
        moved(cluster)
    assert code == 1
    assert "ctl02.demo-core.test" in printed
    assert "nginx-nowhere" in printed
    # the other hosts are not blamed
    assert "ctl01.demo-core.test: nginx" not in printed
    assert cluster.run("ctl02", "dpkg-query", "-W", "nginx").stdout == before


def test_a_stage_works_from_the_deployed_revision(cluster: Cluster) -> None:
    """What is edited waits for a preflight; until then nobody is served a part of it."""
    with appended(cluster, CTL02, "  nginx:\n    server:\n      package: nginx-nowhere\n"):
        code, data, printed = cluster.salt_run("deploy.stage", "foundation", "test=True")
        assert code == 0, printed[-3000:]
        assert "nginx-nowhere" not in printed
        code, data, printed = cluster.salt_run("model.status", "node=ctl02.demo-core.test")
    assert code == 0, printed
    assert data["revision"].startswith("worktree-")
    assert data["compiled"]
    assert not data["pinned"]
