"""
Bring the certificates that hosts ask for.

Thin: :mod:`saltern.rollout.pki` carries the requests.
"""

from __future__ import annotations

from saltern.adapters.master import Site
from saltern.adapters.modelsite import source_of
from saltern.adapters.runner import salt_runner
from saltern.adapters.salt_bus import SaltBus
from saltern.rollout import pki
from saltern.rollout.load import load_members

AUTHORITY = "pki.ca"
ROLE = "pki.host"


@salt_runner
def form(cluster=None, nodes=None, test=False):
    """Have the authority sign every waiting request, and install the certificates.

    :param cluster: name of the cluster; default ``saltern:cluster`` of the master
    :param nodes: minion ids of the hosts; by default those with the role ``pki.host``
    :param test: only say who waits
    :returns: ``{result, comment, changes}``; ``retcode`` 1 when a request is refused

    CLI Example:

    .. code-block:: bash

        salt-run pki.form cluster=demo-core
    """
    site = Site.of(__opts__, cluster)
    if isinstance(nodes, str):
        nodes = [node.strip() for node in nodes.split(",") if node.strip()]
    nodes = nodes or load_members(source_of(site), site.cluster, ROLE)
    authority = load_members(source_of(site), site.cluster, AUTHORITY)[0]
    changes, comment = pki.certify(SaltBus(__opts__), nodes, authority, test=test)
    return {"result": True, "comment": comment, "changes": changes}
