"""
Bring the certificates that hosts ask for.

Thin: :mod:`saltern.rollout.pki` carries the requests.
"""

from __future__ import annotations

from saltern.adapters.members import members_of
from saltern.adapters.runner import salt_runner
from saltern.adapters.salt_bus import SaltBus
from saltern.rollout import pki

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
    nodes = members_of(__opts__, cluster, ROLE, nodes)
    authority = members_of(__opts__, cluster, AUTHORITY)[0]
    changes, comment = pki.certify(SaltBus(__opts__), nodes, authority, test=test)
    return {"result": True, "comment": comment, "changes": changes}
