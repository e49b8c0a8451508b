"""From the master's configuration to the cloud that a sanity run is pointed at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from saltern.adapters.master import Site
from saltern.adapters.modelsite import pillar_settings, source_of
from saltern.adapters.serving import Serving
from saltern.rollout.load import load_members
from saltern.sanity.target import DASHBOARD, ROLE, Target, target


def sanity_target(opts: Mapping[str, Any], site: Site) -> Target:
    """Read the administrator and the members of a cluster from its model.

    It is the pillar of the node that has the administrator's credentials, as the ext_pillar would
    serve it; the dashboard's URL is in that of a node that carries it. Nothing is read from a
    minion, and the credentials stay in this process.

    :param opts: ``__opts__`` of a runner
    :param site: the cluster and its model
    :raises PreflightError: no node carries ``openstack.client``, or its pillar is incomplete
    :raises ModelError: the model does not compile
    :raises SecretError: a secret cannot be decrypted
    """
    node = load_members(source_of(site), site.cluster, ROLE)[0]
    serving = Serving.build(pillar_settings(opts))
    found = target(serving.pillar(node))
    members = found.members.get(DASHBOARD)
    if not members:
        return found
    server = (serving.pillar(members[0]).get("horizon") or {}).get("server") or {}
    return replace(found, dashboard=str(server.get("url") or ""))
