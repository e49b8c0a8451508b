"""Which nodes a runner is about: those that somebody names, or all of a role in the model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from saltern.adapters.master import Site
from saltern.adapters.modelsite import source_of
from saltern.rollout.load import load_members


def listed(nodes: str | Iterable[str] | None) -> list[str]:
    """Return minion ids as a list.

    :param nodes: a list, a text with commas as a command line has it, or nothing
    """
    found = nodes.split(",") if isinstance(nodes, str) else nodes or ()
    return [node.strip() for node in found if node.strip()]


def members_of(
    opts: Mapping[str, Any],
    cluster: str | None,
    role: str,
    nodes: str | Iterable[str] | None = None,
) -> list[str]:
    """Return the members of a role.

    :param opts: ``__opts__`` of a runner
    :param cluster: its name; None for the master's own
    :param role: ``service.role``
    :param nodes: the minion ids that were named; those of the model when there are none
    :raises PreflightError: no cluster is named anywhere, or no node carries the role
    :raises ModelError: the model does not compile
    """
    found = listed(nodes)
    if found:
        return found
    site = Site.of(opts, cluster)
    return load_members(source_of(site), site.cluster, role)
