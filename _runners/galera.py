"""Form, recover and look at the Galera cluster of a cluster of the model.

Thin: :mod:`saltern.rollout.galera` decides, :mod:`saltern.rollout.galera_run` carries it out.
"""

from __future__ import annotations

import functools
import logging

from saltern.adapters.members import listed, members_of
from saltern.adapters.runner import salt_runner
from saltern.adapters.salt_bus import SaltBus
from saltern.rollout import galera, galera_run

log = logging.getLogger(__name__)

ROLE = "galera.server"


@salt_runner
def form(cluster=None, nodes=None, test=False):
    """Bring a cluster to "all members Synced": bootstrap it once, join, restart one by one.

    Idempotent; refuses whatever could lose data.

    :param cluster: name of the cluster; default ``saltern:cluster`` of the master
    :param nodes: minion ids of **all** its members; by default those of the model
    :param test: only say what would be done
    :returns: ``{result, comment, changes}``; ``retcode`` 1 failed, 2 refused

    CLI Example:

    .. code-block:: bash

        salt-run galera.form cluster=demo-core
    """
    bus = SaltBus(__opts__)
    nodes = members_of(__opts__, cluster, ROLE, nodes)
    return galera_run.converge(bus, nodes, galera.decide_form, test=bool(test), tell=_tell).to_ret()


@salt_runner
def recover(cluster=None, nodes=None, without=None, bootstrap_from=None, test=False):
    """Bring a cluster back after all its members were down, from the most advanced one.

    :param cluster: name of the cluster; default ``saltern:cluster`` of the master
    :param nodes: minion ids of all its members; by default those of the model
    :param without: minion ids, or a comma separated text, of silent members that are given up
    :param bootstrap_from: minion id to begin with, where the members' positions contradict
    :param test: only say what would be done
    :returns: ``{result, comment, changes}``; ``retcode`` 1 failed, 2 refused

    CLI Example:

    .. code-block:: bash

        salt-run galera.recover cluster=demo-core
        salt-run galera.recover cluster=demo-core without=inf03.demo-core.test
    """
    bus = SaltBus(__opts__)
    decide = functools.partial(
        galera.decide_recover, without=listed(without), bootstrap_from=bootstrap_from
    )
    nodes = members_of(__opts__, cluster, ROLE, nodes)
    return galera_run.converge(bus, nodes, decide, test=bool(test), tell=_tell).to_ret()


@salt_runner
def status(cluster=None, nodes=None):
    """Say what every member holds and what state it is in, and what form would do.

    :param cluster: name of the cluster; default ``saltern:cluster`` of the master
    :param nodes: minion ids of all its members; by default those of the model
    :returns: ``{result, comment, members: {id: {…}}}``; ``result`` is False unless all is well

    CLI Example:

    .. code-block:: bash

        salt-run galera.status cluster=demo-core
    """
    bus = SaltBus(__opts__)
    facts, problems = galera_run.gather(bus, members_of(__opts__, cluster, ROLE, nodes))
    decision = galera.decide_form(facts)
    return {
        "result": isinstance(decision, galera.Nothing),
        "comment": " ".join([galera.sentence(decision), *problems]),
        "members": {node: galera.describe(member) for node, member in facts.items()},
    }


def _tell(sentence):
    log.info("galera: %s", sentence)
    __salt__["event.send"]("saltern/galera", {"message": sentence})
