"""What is rehearsed: each OpenStack service of a cluster, with the code of both releases."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any, Protocol

import yaml

from saltern.errors import RehearsalRefusedError

#: Who carries a rehearsal out.
SHADOW = "rehearsal.shadow"
#: Behind the name of a database, of its copy.
SUFFIX = "_rehearsal"
#: Whose API gives the tokens.
IDENTITY = "keystone"

#: What a row says to the shadow as it is.
_TOLD = ("read", "files", "setup", "check", "check_script", "api")


class Node(Protocol):
    """What is read of a compiled node; :class:`saltern.model.cluster.CompiledNode` has it."""

    @property
    def applications(self) -> Collection[str]:
        """Its roles."""

    @property
    def pillar(self) -> Mapping[str, Any]:
        """Its data."""


Nodes = Mapping[str, Node]


@dataclass(frozen=True)
class Service:
    """A service whose upgrade is rehearsed.

    :param name: ``nova``
    :param before: release that runs now
    :param after: release at the wanted revision
    :param databases: names of its databases in a bundle, in their order
    :param moves: whether another environment comes
    :param has_api: whether it is asked, too
    :param spec: what the shadow gets: plain data without secrets
    """

    name: str
    before: str
    after: str
    databases: tuple[str, ...]
    moves: bool
    has_api: bool
    spec: Mapping[str, Any] = field(repr=False)


@cache
def rows() -> dict[str, Any]:
    """Return what is known of the services, by name, in the order in which they are rehearsed."""
    text = resources.files("saltern.rehearsal").joinpath("data/services.yaml").read_text("utf-8")
    found: dict[str, Any] = yaml.safe_load(text)["services"]
    return found


def shadow(nodes: Nodes) -> str:
    """Return the node that rehearses.

    :param nodes: compiled nodes of a cluster by minion id
    :raises RehearsalRefusedError: there is none, or more than one
    """
    found = sorted(name for name, node in nodes.items() if SHADOW in node.applications)
    if len(found) == 1:
        return found[0]
    raise RehearsalRefusedError(
        f"the model has {len(found)} nodes with the role {SHADOW}, and one is needed",
        cure="Include system.rehearsal.shadow in the class of one node, and deploy",
    )


def read(before: Nodes, after: Nodes) -> tuple[tuple[Service, ...], tuple[str, ...]]:
    """Return the services of a cluster that can be rehearsed, in their order.

    :param before: nodes as they are served now
    :param after: nodes at the wanted revision
    :returns: the services, and a sentence for each one that is not rehearsed
    :raises RehearsalRefusedError: the model says of two nodes that they run different environments,
        or names a database in no way
    """
    found, left = [], []
    for name, row in rows().items():
        old, new = _data(before, row), _data(after, row)
        if new is None:
            continue
        if old is None:
            left.append(f"{name} is new in the cluster: there is nothing to migrate.")
            continue
        found.append(_service(name, row, old, new))
    known = {row["role"].partition(".")[0] for row in rows().values()}
    for name in sorted({*_upgraded(after)} - known):
        left.append(f"{name} is not rehearsed: nothing is known of how to.")
    return tuple(found), tuple(left)


def _upgraded(nodes: Nodes) -> Iterator[str]:
    """Names of services that have a schema of their own."""
    for node in nodes.values():
        for role in node.applications:
            service, _, part = role.partition(".")
            source = _at(node.pillar, f"{service}:{part}:source")
            if isinstance(source, Mapping) and source.get("database"):
                yield service


def _data(nodes: Nodes, row: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The pillar of a node that carries the role; all of them run the same environment."""
    carriers = {
        name: node.pillar
        for name, node in sorted(nodes.items())
        if row["role"] in node.applications
    }
    sources = {
        name: _at(pillar, f"{row['data']}:source") or {} for name, pillar in carriers.items()
    }
    seen = {str(source.get("sha256")) for source in sources.values()}
    if len(seen) > 1:
        raise RehearsalRefusedError(
            f"{', '.join(sources)} run different environments of {row['role']}",
            where=f"{row['data']}:source",
            cure="Finish the rollout that is under way, then rehearse the next one",
        )
    return next(iter(carriers.values()), None)


def _service(
    name: str, row: Mapping[str, Any], old: Mapping[str, Any], new: Mapping[str, Any]
) -> Service:
    present, source = _source(name, row, old), _source(name, row, new)
    named = _databases(name, row, old)
    upgrade = source.get("upgrade") or {}
    adds = [*upgrade["expand"], *upgrade.get("migrate", [])] if upgrade.get("expand") else []
    database = source["database"]
    own = [{"section": database["section"], "migrations": database["migrations"]}]
    region = str(_at(new, f"{row['data']}:region") or "RegionOne")
    spec = {
        "service": name,
        "before": _environment(present),
        "source": _environment(source),
        "databases": {alias: f"{one}{SUFFIX}" for alias, one in named.items()},
        "schemas": row.get("schemas") or own,
        "expand": adds,
        "sync": database["sync"],
        "contract": upgrade.get("contract") or [],
        "region": region,
        **{key: row.get(key) for key in ("read", "files", "setup", "check", "check_script", "api")},
        "cells": _cells(row, old),
    }
    return Service(
        name=name,
        before=str(present["release"]),
        after=str(source["release"]),
        databases=tuple(dict.fromkeys(named.values())),
        moves=present.get("sha256") != source.get("sha256"),
        has_api=bool(row.get("api")),
        spec=spec,
    )


def _source(name: str, row: Mapping[str, Any], pillar: Mapping[str, Any]) -> Mapping[str, Any]:
    where = f"{row['data']}:source"
    source = _at(pillar, where)
    if not isinstance(source, Mapping) or not source.get("sha256") or not source.get("database"):
        raise RehearsalRefusedError(
            f"{name} runs from no environment that the model pins, so its code cannot be run beside"
            " another one",
            where=where,
            cure="Pin one with `saltern artifact pin`",
        )
    return source


def _environment(source: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("engine", "release", "url", "sha256", "wsgi")
    return {key: source[key] for key in keys if key in source}


def _databases(name: str, row: Mapping[str, Any], pillar: Mapping[str, Any]) -> dict[str, str]:
    """Name that the configuration means -> name of the database."""
    found = {}
    for alias, one in row["databases"].items():
        found[alias] = str(_at(pillar, one["at"]) or one["name"])
    if "cells" in row:
        for number, (cell, data) in enumerate(
            sorted((_at(pillar, row["cells"]["at"]) or {}).items())
        ):
            told = str(_at(data, "database:name") or row["cells"]["name"])
            # the first one is the cell of the control plane
            found[row["cells"]["name"] if not number else f"cell_{cell}"] = told
    return found


def _cells(row: Mapping[str, Any], pillar: Mapping[str, Any]) -> dict[str, Any]:
    """The cells that are to be registered: none of them knows a broker."""
    if "cells" not in row:
        return {}
    found: dict[str, Any] = {
        "cell0": {"database": "{url[nova_cell0]}", "transport": "none:///"},
    }
    for number, (cell, data) in enumerate(sorted((_at(pillar, row["cells"]["at"]) or {}).items())):
        alias = row["cells"]["name"] if not number else f"cell_{cell}"
        enabled = data.get("enabled", True)
        found[cell] = {
            "database": f"{{url[{alias}]}}",
            "transport": "fake://",
            "disabled": not enabled,
        }
    return found


def _at(data: Any, path: str) -> Any:
    for part in path.split(":"):
        data = data.get(part) if isinstance(data, Mapping) else None
    return data
