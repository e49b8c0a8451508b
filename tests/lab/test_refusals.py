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


def test_a_missing_package_stops_the_deployment_with_host_and_reason(cluster: Cluster) -> None:
    before = cluster.run("ctl02", "dpkg-query", "-W", "nginx").stdout
    with appended(cluster, CTL02, "  nginx:\n    server:\n      package: nginx-nowhere\n"):
        code, _, printed = cluster.salt_run("state.orch", "deploy")
    # once the model is mended, the same command ends what was begun with the other one
    states = cluster.orchestrate("deploy")
    assert code == 1
    assert "ctl02.demo-core.test" in printed
    assert "nginx-nowhere" in printed
    # the other hosts are not blamed
    assert "ctl01.demo-core.test: " not in printed
    assert cluster.run("ctl02", "dpkg-query", "-W", "nginx").stdout == before
    (begun,) = [state for key, state in states.items() if "deploy-begin" in key]
    assert "is ended: The revision to reach was worktree-" in begun["comment"]


def test_a_preview_shows_what_is_edited_and_serves_it_to_nobody(cluster: Cluster) -> None:
    node = "ctl02.demo-core.test"
    with appended(cluster, CTL02, "  nginx:\n    server:\n      package: nginx-nowhere\n"):
        _, data, printed = cluster.salt_run("deploy.stage", "foundation", "test=True")
        assert "nginx-nowhere" in printed or "nginx" in str(data["changes"]), printed[-3000:]
        assert set(data["changes"]) <= {node}
        assert not [text for text in data["failures"] if not text.startswith(node)]
        code, data, printed = cluster.salt_run("model.status", f"node={node}")
    assert code == 0, printed
    assert data["revision"].startswith("worktree-")
    assert data["compiled"]
    assert not data["pinned"]
