"""Compile all nodes of one cluster together: what roles publish, and who is where."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from saltern.errors import ModelError
from saltern.model.inventory import Inventory, Merged
from saltern.model.query import Asked
from saltern.model.resolve import MissingReference, Resolver
from saltern.model.tree import TreeError, merge

#: how many nodes, and how many faults, one sentence names before it counts the rest
_SHOWN = 20
#: parameters that are input of the compiler and never reach a pillar
INTERNAL = ("_secret", "_secret_spec", "publish", "cluster_nodes")
#: the key of a pillar that says whose it is, and of which revision; no pillar is whole without
SENTINEL = "__reclass__"


@dataclass(frozen=True)
class CompiledNode:
    """One node of a compiled cluster.

    ``pillar`` is what the node is served, with secrets still as ciphertext; it holds
    ``topology`` and the sentinel ``__reclass__``. ``lifecycle`` maps ``service.role`` to its
    lifecycle; ``host`` is ``{name, fqdn, address, provider, image}``. ``cluster`` is empty for
    a node outside of all clusters (``compat: reclass`` only); ``files`` are in merge order.
    """

    id: str
    pillar: dict[str, Any]
    applications: list[str]
    classes: list[str]
    environment: str
    lifecycle: dict[str, Any]
    host: dict[str, Any]
    cluster: str = ""
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Draft:
    """What others need to know about a node before it can be finished: small, and kept.

    ``publish`` is resolved; ``files`` are in merge order, as ``classes/…`` and ``nodes/…``;
    ``missed`` are class names that were looked up and not found; ``asked`` are the export keys
    that inventory queries read on the way.
    """

    id: str
    cluster: str
    environment: str
    roles: tuple[str, ...]
    host: dict[str, Any]
    domain: str
    publish: dict[str, Any]
    files: tuple[str, ...]
    missed: tuple[str, ...]
    asked: frozenset[Asked]


@dataclass(frozen=True)
class Finished:
    """A node's own part of what it is served; the same in every revision that leaves it alone.

    ``record`` is plain data (see :func:`finish`), ``asked`` as in :class:`Draft`.
    """

    record: dict[str, Any]
    asked: frozenset[Asked]


def compile_cluster(inventory: Inventory, cluster_name: str) -> dict[str, CompiledNode]:
    """Compile every node whose ``_param:cluster_name`` is ``cluster_name``.

    :param inventory: the model tree
    :param cluster_name: name of the cluster; empty for the nodes outside of all clusters
    :returns: node id to compiled node, sorted by id
    :raises ModelError: no such cluster, or one sentence over every node that does not compile
    """
    nodes, errors = try_compile_cluster(inventory, cluster_name)
    if errors:
        raise together(errors)
    return nodes


def try_compile_cluster(
    inventory: Inventory, cluster_name: str
) -> tuple[dict[str, CompiledNode], dict[str, ModelError]]:
    """Compile a cluster and keep each node's error instead of raising.

    :returns: (compiled nodes, errors by node id); the nodes are only fit to be served when
        there is no error, since a broken node publishes nothing
    :raises ModelError: no node belongs to the cluster
    """
    drafts: dict[str, Draft] = {}
    errors: dict[str, ModelError] = {}
    for node_id in inventory.nodes():
        try:
            merged = inventory.merged(node_id)
            resolver = inventory.resolver(merged, root=merged.parameters)
            if _cluster(inventory, merged, resolver) == cluster_name:
                drafts[node_id] = draft(inventory, merged, resolver)
        except ModelError as err:
            # a broken node of another cluster must not stop this one; nodes/<cluster>/ says whose
            folder, slash, _ = inventory.node_files[node_id].rpartition("/")
            if not slash or folder.split("/")[0] == cluster_name:
                errors[node_id] = err
    if not drafts and not errors:
        raise ModelError(
            f"no node belongs to cluster {cluster_name}",
            where=str(inventory.path),
            cure=f"Run `saltern model nodes --cluster {cluster_name}`",
        )
    around = topology(cluster_name, drafts.values()) if cluster_name else None
    published, conflicts = join_published(
        (node_id, one.publish) for node_id, one in sorted(drafts.items())
    )
    errors.update(conflicts)
    revision = inventory.revision()
    nodes: dict[str, CompiledNode] = {}
    for node_id, one in drafts.items():
        try:
            finished = finish(inventory, inventory.merged(node_id), one, published)
        except ModelError as err:
            errors[node_id] = err
        else:
            nodes[node_id] = assemble(finished.record, around, revision)
    return nodes, errors


def cluster_of(inventory: Inventory, node_id: str) -> str:
    """Return the cluster a node belongs to; empty when it is outside of all clusters.

    :raises ModelError: unknown node, or it names no cluster and the model is strict
    """
    merged = inventory.merged(node_id)
    return _cluster(inventory, merged, inventory.resolver(merged, root=merged.parameters))


def clusters(inventory: Inventory) -> list[str]:
    """Return the names of all clusters that have a node, sorted.

    A node that fails counts for the directory its file is in.
    """
    found = set()
    for node_id in inventory.nodes():
        try:
            found.add(cluster_of(inventory, node_id))
        except ModelError:
            found.add(inventory.node_files[node_id].split("/")[0])
    return sorted(found - {""})


def draft(inventory: Inventory, merged: Merged, resolver: Resolver | None = None) -> Draft:
    """First phase: find out what one node publishes, and who and where it is.

    :param merged: the node, merged
    :param resolver: a resolver over it, when there is one already
    :raises ModelError: one of these cannot be resolved, or has the wrong shape
    """
    cluster = ""
    host: Any = {}
    publish: Any = {}
    domain = ""
    asked: frozenset[Asked] = frozenset()
    if _may_be_member(inventory, merged):
        # little is asked of it: not worth what the nodes of a group have in common
        resolver = resolver or inventory.resolver(merged, root=merged.parameters)
        cluster = _cluster(inventory, merged, resolver)
        asked = frozenset(resolver.queried)
    if cluster and resolver is not None:
        publish = resolver.plain(merged.parameters.get("publish"), ("publish",)) or {}
        host = resolver.plain(merged.parameters.get("host"), ("host",)) or {}
        inventory.check(merged, resolver.faults)
        _check_shapes(inventory, merged, host, publish)
        domain = _domain(resolver)
        asked = frozenset(resolver.queried)
    return Draft(
        id=merged.id,
        cluster=cluster,
        environment=merged.environment,
        roles=tuple(merged.applications),
        host=host,
        domain=domain,
        publish=publish,
        files=(*(step.source.path for step in merged.walked.steps), merged.own.path),
        missed=merged.missed,
        asked=asked,
    )


def topology(cluster_name: str, drafts: Iterable[Draft]) -> dict[str, Any]:
    """Return who is where in a cluster: what every node of it finds under ``topology``.

    :param drafts: all nodes of the cluster
    """
    nodes: dict[str, Any] = {}
    roles: dict[str, list[str]] = {}
    domain = ""
    for one in sorted(drafts, key=lambda one: one.id):
        short, _, rest = one.id.partition(".")
        domain = domain or one.domain or rest
        nodes[one.id] = {
            "name": one.host.get("name", short),
            "address": one.host["address"],
            "roles": sorted(one.roles),
        }
        for role in one.roles:
            roles.setdefault(role, []).append(one.id)
    return {
        "cluster": cluster_name,
        "domain": domain,
        "nodes": nodes,
        "roles": {role: roles[role] for role in sorted(roles)},
    }


def join_published(
    given: Iterable[tuple[str, dict[str, Any]]],
) -> tuple[dict[str, dict[str, Any]], dict[str, ModelError]]:
    """Join what the nodes of one cluster publish.

    :param given: (node id, what it publishes by role) of all its nodes, sorted
    :returns: (data by role, errors by node id); two different values for a key are an error
        of the later node
    """
    joined: dict[str, Any] = {}
    owners: dict[tuple[str, ...], str] = {}
    errors: dict[str, ModelError] = {}
    for node_id, publish in given:
        try:
            joined = _join(joined, publish, (), node_id, owners)
        except _Conflict as err:
            key = ":".join(("publish", *err.path))
            errors[node_id] = ModelError(
                f"{node_id} and {err.other} publish different values for {key}",
                where=f"node {node_id}",
                cure="Publish the same value from every node, or use a key per node",
            )
    return joined, errors


def finish(
    inventory: Inventory,
    merged: Merged,
    one: Draft,
    published: Mapping[str, dict[str, Any]],
    *,
    packed: bool = False,
) -> Finished:
    """Second phase: resolve a node over what it receives.

    :param merged: the node, merged
    :param one: its draft
    :param published: what its cluster publishes, by role
    :param packed: the record is packed at once: parts of it may belong to the tree
    :returns: record with ``id``, ``cluster``, ``environment``, ``classes``, ``applications``,
        ``host``, ``files`` and ``pillar``; the last without topology and sentinel
    :raises ModelError: a value cannot be resolved, or a key of the compiler is written
    """
    received: dict[str, Any] = {}
    for role in merged.applications:
        if role in published:
            service, _, name = role.partition(".")
            received = merge(received, {service: {name: published[role]}})
    root = merge(received, merged.parameters) if received else None
    resolver = inventory.resolver(merged, root=root)
    hidden = INTERNAL if one.cluster else ()
    tree = {key: value for key, value in resolver.root.items() if key not in hidden}
    pillar = resolver.shared(tree) if packed else resolver.plain(tree)
    inventory.check(merged, resolver.faults)
    for key in ("topology", SENTINEL) if one.cluster else (SENTINEL,):
        if key in pillar:
            raise ModelError(
                f"{key} is set by the compiler and cannot be written at "
                + inventory.place(merged, (key,)),
                where=f"node {merged.id}",
            )
    record = {
        "id": one.id,
        "cluster": one.cluster,
        "environment": one.environment,
        "classes": list(merged.classes),
        "applications": list(one.roles),
        "host": one.host,
        "files": list(one.files),
        "pillar": pillar,
    }
    return Finished(record, frozenset(resolver.queried))


def assemble(
    record: Mapping[str, Any], around: dict[str, Any] | None, revision: str
) -> CompiledNode:
    """Join a node's record with what differs between revisions.

    :param record: from :func:`finish`; becomes part of the result
    :param around: topology of its cluster, None outside of all clusters
    :param revision: id for the sentinel
    """
    pillar = record["pillar"]
    if around is not None:
        pillar["topology"] = around
    pillar[SENTINEL] = {
        "nodename": record["id"],
        "applications": list(record["applications"]),
        "classes": list(record["classes"]),
        "environment": record["environment"],
        "revision": revision,
    }
    # outside of clusters the key is anybody's
    lifecycle = pillar.get("lifecycle") if record["cluster"] else None
    return CompiledNode(
        id=record["id"],
        pillar=pillar,
        applications=record["applications"],
        classes=record["classes"],
        environment=record["environment"],
        lifecycle=lifecycle or {},
        host=record["host"],
        cluster=record["cluster"],
        files=tuple(record["files"]),
    )


def _cluster(inventory: Inventory, merged: Merged, resolver: Resolver) -> str:
    """The cluster of a node; only ``_param:cluster_name`` is resolved."""
    if not _may_be_member(inventory, merged):
        return ""
    try:
        name = resolver.value("_param", "cluster_name")
    except MissingReference as err:
        if not inventory.options.strict and err.ref == "_param:cluster_name":
            return ""
        sentence = f"reference ${{{err.ref}}} has no value"
    except TreeError as err:
        sentence = err.sentence
    else:
        if name is not None and str(name):
            return str(name)
        sentence = "the value is empty"
    place = inventory.place(merged, ("_param", "cluster_name"))
    raise ModelError(f"no cluster name: {sentence} at {place}", where=f"node {merged.id}")


def _may_be_member(inventory: Inventory, merged: Merged) -> bool:
    """False for a node that is plain reclass: nothing is resolved to know that."""
    return (
        inventory.options.strict
        or "host" in merged.own.parameters
        or "host" in merged.walked.state.parameters
    )


def _check_shapes(inventory: Inventory, merged: Merged, host: Any, publish: Any) -> None:
    where = f"node {merged.id}"
    if not isinstance(host, dict) or not host.get("address"):
        raise ModelError(
            f"host:address is not set at {inventory.place(merged, ('host', 'address'))}",
            where=where,
            cure="Generate the node file with `saltern model nodes`",
        )
    if not isinstance(publish, dict):
        raise ModelError(
            f"publish must map roles to data at {inventory.place(merged, ('publish',))}",
            where=where,
        )
    for role, data in publish.items():
        if "." not in role or not isinstance(data, dict):
            raise ModelError(
                "publish must map service.role to a mapping at "
                + inventory.place(merged, ("publish", role)),
                where=where,
            )


def _domain(resolver: Resolver) -> str:
    try:
        return str(resolver.value("_param", "cluster_domain"))
    except (MissingReference, TreeError):
        return ""


class _Conflict(Exception):
    def __init__(self, path: tuple[str, ...], other: str) -> None:
        super().__init__(path)
        self.path = path
        self.other = other


def _join(
    low: Any,
    high: Any,
    path: tuple[str, ...],
    node_id: str,
    owners: dict[tuple[str, ...], str],
) -> Any:
    if isinstance(low, dict) and isinstance(high, dict):
        out = dict(low)
        for key, value in high.items():
            here = (*path, str(key))
            if key in out:
                out[key] = _join(out[key], value, here, node_id, owners)
            else:
                out[key] = value
                owners[here] = node_id
        return out
    if isinstance(low, list) and isinstance(high, list):
        return low + [item for item in high if item not in low]
    if type(low) is type(high) and low == high:
        return low
    # the nearest key that was noted when its first publisher set it
    other = next(
        (owners[path[:n]] for n in range(len(path), 0, -1) if path[:n] in owners), "another node"
    )
    raise _Conflict(path, other)


def together(errors: Mapping[str, ModelError]) -> ModelError:
    """Return one error for several nodes; the same fault on many nodes is told once.

    A sentence that names thousands helps nobody: beyond some, nodes and faults are counted.

    :param errors: by node id, at least one
    """
    groups: dict[tuple[str, str, str], list[str]] = {}
    for node_id, err in sorted(errors.items()):
        rest = err.where.removeprefix(f"node {node_id}").removeprefix(", ")
        groups.setdefault((rest, err.sentence, err.cure), []).append(node_id)
    if len(groups) == 1 and len(errors) == 1:
        return next(iter(errors.values()))
    told = []
    cure = ""
    for (rest, sentence, its_cure), nodes in groups.items():
        who = f"node{'s' if len(nodes) > 1 else ''} {', '.join(nodes[:_SHOWN])}"
        if len(nodes) > _SHOWN:
            who += f" and {len(nodes) - _SHOWN} more"
        told.append(f"{who}{f', {rest}' if rest else ''}: {sentence}")
        cure = cure or its_cure
    if len(told) > _SHOWN:
        told[_SHOWN:] = [f"and {len(told) - _SHOWN} more faults"]
    return ModelError("; ".join(told), cure=cure)
