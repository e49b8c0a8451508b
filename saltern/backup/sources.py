"""What is backed up: read from the lifecycles of the roles that a model calls stateful."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from saltern.errors import BackupRefusedError

#: How the members are tried: each has data of its own; one has the same as another.
EACH, FIRST, LAST, GALERA = "each", "first", "last", "galera"
CLIENT, SERVER = "backup.client", "backup.server"


class Node(Protocol):
    """What is read of a compiled node."""

    @property
    def applications(self) -> Collection[str]:
        """Its roles."""

    @property
    def lifecycle(self) -> Mapping[str, Any]:
        """Lifecycle by role."""


@dataclass(frozen=True)
class Kind:
    """One way in which a role's data are backed up.

    :param name: ``full``, ``incremental`` or ``logical``
    :param call: function of an execution module that makes the bundle
    :param kwargs: its arguments
    :param verify: function that restores a bundle, or a chain of them, aside and looks at it
    :param restore: function that puts it back; empty where a runner does more than that
    :param restore_kwargs: its arguments
    :param base: kind that it builds on, empty for none
    """

    name: str
    call: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    verify: str = ""
    restore: str = ""
    restore_kwargs: Mapping[str, Any] = field(default_factory=dict)
    base: str = ""


@dataclass(frozen=True)
class Source:
    """A role that is backed up.

    :param role: ``service.role``
    :param nodes: minion ids of its members
    :param order: how they are tried
    :param kinds: by name
    :param what: what is in it, for people
    """

    role: str
    nodes: tuple[str, ...]
    order: str
    kinds: Mapping[str, Kind]
    what: str = ""


@dataclass(frozen=True)
class Sources:
    """All that a cluster's model says of backups.

    :param found: by role, those with calls
    :param told: role to what its class says in words
    :param silent: stateful roles that say nothing
    :param clients: minion ids of hosts that can send bundles
    :param servers: minion ids of backup servers
    """

    found: Mapping[str, Source]
    told: Mapping[str, str]
    silent: tuple[str, ...]
    clients: frozenset[str]
    servers: tuple[str, ...]

    def server(self) -> str:
        """Return the backup server.

        :raises BackupRefusedError: there is none, or more than one
        """
        if len(self.servers) == 1:
            return self.servers[0]
        raise BackupRefusedError(
            f"the model has {len(self.servers)} nodes with the role {SERVER}, and one is needed",
            cure="Include system.backup.server in the class of one node",
        )

    def chosen(self, roles: Collection[str]) -> list[Source]:
        """Return the sources of some roles, all when none is named.

        :raises BackupRefusedError: one of them has no calls, or a member cannot send bundles
        """
        unknown = sorted(set(roles) - set(self.found))
        if unknown:
            said = self.told.get(unknown[0])
            raise BackupRefusedError(
                f"{unknown[0]} has no backup of its own"
                + (f": the model says {said!r}" if said else ""),
                cure=f"Take one of {', '.join(sorted(self.found)) or 'none'}",
            )
        picked = [self.found[role] for role in sorted(roles or self.found)]
        for source in picked:
            lost = sorted(set(source.nodes) - self.clients)
            if lost:
                raise BackupRefusedError(
                    f"{lost[0]} is to be backed up and is no client of the backup server",
                    where=source.role,
                    cure="Include system.backup.client in its class, and deploy",
                )
        return picked


def read(nodes: Mapping[str, Node]) -> Sources:
    """Read the roles of a cluster.

    :param nodes: compiled nodes by minion id
    """
    members: dict[str, list[str]] = {}
    said: dict[str, Any] = {}
    for name, node in sorted(nodes.items()):
        for role in node.applications:
            entry = node.lifecycle.get(role) or {}
            if entry.get("stateful") is True and entry.get("executable", True):
                members.setdefault(role, []).append(name)
                said.setdefault(role, entry.get("backup"))
    return Sources(
        found={
            role: _source(role, members[role], spec)
            for role, spec in said.items()
            if isinstance(spec, Mapping)
        },
        told={role: spec for role, spec in said.items() if isinstance(spec, str)},
        silent=tuple(sorted(role for role, spec in said.items() if spec is None)),
        clients=frozenset(_carriers(nodes, CLIENT)),
        servers=tuple(_carriers(nodes, SERVER)),
    )


def _carriers(nodes: Mapping[str, Node], role: str) -> list[str]:
    return [name for name, node in sorted(nodes.items()) if role in node.applications]


def _source(role: str, nodes: list[str], spec: Mapping[str, Any]) -> Source:
    kinds = {
        name: Kind(
            name=name,
            call=one["call"],
            kwargs=one.get("kwargs") or {},
            verify=one.get("verify", ""),
            restore=(one.get("restore") or {}).get("call", ""),
            restore_kwargs=(one.get("restore") or {}).get("kwargs") or {},
            base=one.get("base", ""),
        )
        for name, one in spec["kinds"].items()
    }
    return Source(role, tuple(nodes), spec.get("from", EACH), kinds, spec.get("what", ""))
