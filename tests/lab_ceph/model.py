"""The model on a master, changed as an operator does it: classes, nodes, a commit."""

from __future__ import annotations

from saltern.lab.cluster import MODEL
from tests.support.cluster import Cluster


def commit(cluster: Cluster, pattern: str, message: str) -> None:
    """Change the cluster's class on its master, make the nodes of it, and commit both.

    :param cluster: whose model it is
    :param pattern: what sed does to the class
    :param message: of the commit
    """
    script = f"""set -e
cd {MODEL}
sed -i '{pattern}' classes/cluster/{cluster.name}/init.yml
saltern model nodes -i . -c {cluster.name}
chown -R salt: nodes classes
as="runuser -u salt -- git -c user.name=operator -c user.email=operator@example.test"
$as add nodes classes
$as diff --cached --quiet || $as commit -q -m '{message}'
"""
    cluster.run(cluster.master, "sh", "-c", script)
