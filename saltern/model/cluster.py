"""Compile all nodes of one cluster together: what roles publish, and who is where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from saltern.errors import ModelError
from saltern.model.inventory import Inventory, Merged
from saltern.model.resolve import MissingReference, Resolver
from saltern.model.tree import TreeError, merge

#: parameters that are input of the compiler and never reach a pillar
INTERNAL = ("_secret", "_secret_spec", "publish", "cluster_nodes")


@dataclass(frozen=True)
class CompiledNode:
    """One node of a compiled cluster.

    ``pillar`` is what the node is served, with secrets still as ciphertext; it holds
    ``topology`` and the sentinel ``__reclass__``. ``lifecycle`` maps ``service.role`` to its
    lifecycle; ``host`` is ``{name, fqdn, address, provider, image}``.
    """

    id: str
    pillar: dict[str, Any]
    applications: list[str]
    classes: list[str]
    environment: str
    lifecycle: dict[str, Any]
    host: dict[str, Any]


@dataclass
class _Draft:
    """A node on its way: merged, with a resolver over its own data."""

    merged: Merged
    resolver: Resolver
    publish: dict[str, Any]
    host: dict[str, Any]


def compile_cluster(inventory: Inventory, cluster_name: str) -> dict[str, CompiledNode]:
    """Compile every node whose ``_param:cluster_name`` is ``cluster_name``.

    :param inventory: the model tree
    :param cluster_name: name of the cluster
    :returns: node id to compiled node, sorted by id
    :raises ModelError: no such cluster, or one sentence over every node that does not compile
    """
    nodes, errors = try_compile_cluster(inventory, cluster_name)
    if errors:
        raise _together(errors)
    return nodes


def try_compile_cluster(
    inventory: Inventory, cluster_name: str
) -> tuple[dict[str, CompiledNode], dict[str, ModelError]]:
    """Compile a cluster and keep each node's error instead of raising.

    :returns: (compiled nodes, errors by node id); the nodes are only fit to be served when
        there is no error, since a broken node publishes nothing
    :raises ModelError: no node belongs to the cluster
    """
    drafts: dict[str, _Draft] = {}
    errors: dict[str, ModelError] = {}
    for node_id in inventory.nodes():
        try:
            merged = inventory.merged(node_id)
            resolver = inventory.resolver(merged)
            if _cluster(inventory, merged, resolver) == cluster_name:
                drafts[node_id] = _draft(inventory, merged, resolver)
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
    topology = _topology(cluster_name, drafts)
    published = _published(drafts, errors)
    revision = inventory.revision()
    nodes: dict[str, CompiledNode] = {}
    for node_id, draft in drafts.items():
        try:
            nodes[node_id] = _finish(inventory, draft, published, topology, revision)
        except ModelError as err:
            errors[node_id] = err
    return nodes, errors


def cluster_of(inventory: Inventory, node_id: str) -> str:
    """Return the cluster a node belongs to.

    :raises ModelError: unknown node, or it names no cluster
    """
    merged = inventory.merged(node_id)
    return _cluster(inventory, merged, inventory.resolver(merged))


def clusters(inventory: Inventory) -> list[str]:
    """Return the names of all clusters that have a node, sorted; nodes that fail are skipped."""
    found = set()
    for node_id in inventory.nodes():
        try:
            found.add(cluster_of(inventory, node_id))
        except ModelError:
            found.add(inventory.node_files[node_id].split("/")[0])
    return sorted(found)


def _cluster(inventory: Inventory, merged: Merged, resolver: Resolver) -> str:
    try:
        name = resolver.value("_param", "cluster_name")
    except MissingReference as err:
        sentence = f"reference ${{{err.ref}}} has no value"
    except TreeError as err:
        sentence = err.sentence
    else:
        return str(name)
    place = inventory.place(merged, ("_param", "cluster_name"))
    raise ModelError(f"no cluster name: {sentence} at {place}", where=f"node {merged.id}")


def _draft(inventory: Inventory, merged: Merged, resolver: Resolver) -> _Draft:
    publish = resolver.plain(merged.parameters.get("publish"), ("publish",)) or {}
    host = resolver.plain(merged.parameters.get("host"), ("host",)) or {}
    inventory.check(merged, resolver.faults)
    if not isinstance(host, dict) or not host.get("address"):
        raise ModelError(
            f"host:address is not set at {inventory.place(merged, ('host', 'address'))}",
            where=f"node {merged.id}",
            cure="Generate the node file with `saltern model nodes`",
        )
    if not isinstance(publish, dict):
        raise ModelError(
            f"publish must map roles to data at {inventory.place(merged, ('publish',))}",
            where=f"node {merged.id}",
        )
    for role, data in publish.items():
        if "." not in role or not isinstance(data, dict):
            raise ModelError(
                "publish must map service.role to a mapping at "
                + inventory.place(merged, ("publish", role)),
                where=f"node {merged.id}",
            )
    return _Draft(merged, resolver, publish, host)


def _topology(cluster_name: str, drafts: Mapping[str, _Draft]) -> dict[str, Any]:
    nodes: dict[str, Any] = {}
    roles: dict[str, list[str]] = {}
    domain = ""
    for node_id, draft in sorted(drafts.items()):
        short, _, rest = node_id.partition(".")
        domain = domain or _domain(draft) or rest
        nodes[node_id] = {
            "name": draft.host.get("name", short),
            "address": draft.host["address"],
            "roles": sorted(draft.merged.applications),
        }
        for role in draft.merged.applications:
            roles.setdefault(role, []).append(node_id)
    return {
        "cluster": cluster_name,
        "domain": domain,
        "nodes": nodes,
        "roles": {role: sorted(roles[role]) for role in sorted(roles)},
    }


def _domain(draft: _Draft) -> str:
    try:
        return str(draft.resolver.value("_param", "cluster_domain"))
    except (MissingReference, TreeError):
        return ""


def _published(
    drafts: Mapping[str, _Draft], errors: dict[str, ModelError]
) -> dict[str, dict[str, Any]]:
    """Join what all nodes publish, by role; a conflict is an error of the later node."""
    joined: dict[str, Any] = {}
    owners: dict[tuple[str, ...], str] = {}
    for node_id, draft in sorted(drafts.items()):
        try:
            joined = _join(joined, draft.publish, (), node_id, owners)
        except _Conflict as err:
            key = ":".join(("publish", *err.path))
            errors[node_id] = ModelError(
                f"{node_id} and {err.other} publish different values for {key}",
                where=f"node {node_id}",
                cure="Publish the same value from every node, or use a key per node",
            )
    return joined


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


def _finish(
    inventory: Inventory,
    draft: _Draft,
    published: Mapping[str, dict[str, Any]],
    topology: dict[str, Any],
    revision: str,
) -> CompiledNode:
    merged = draft.merged
    root = merged.parameters
    received = {role: published[role] for role in merged.applications if role in published}
    for role, data in received.items():
        service, _, name = role.partition(".")
        root = merge({service: {name: data}}, root)
    resolver = Resolver(root, inventory.options) if received else draft.resolver
    pillar = {
        key: resolver.plain(value, (key,)) for key, value in root.items() if key not in INTERNAL
    }
    inventory.check(merged, resolver.faults)
    for key in ("topology", "__reclass__"):
        if key in pillar:
            raise ModelError(
                f"{key} is set by the compiler and cannot be written at "
                + inventory.place(merged, (key,)),
                where=f"node {merged.id}",
            )
    lifecycle = pillar.get("lifecycle") or {}
    pillar["topology"] = topology
    pillar["__reclass__"] = {
        "nodename": merged.id,
        "applications": list(merged.applications),
        "classes": list(merged.classes),
        "environment": merged.environment,
        "revision": revision,
    }
    return CompiledNode(
        id=merged.id,
        pillar=pillar,
        applications=list(merged.applications),
        classes=list(merged.classes),
        environment=merged.environment,
        lifecycle=lifecycle,
        host=draft.host,
    )


def _together(errors: Mapping[str, ModelError]) -> ModelError:
    """One error for several nodes; the same fault on many nodes is told once."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for node_id, err in sorted(errors.items()):
        rest = err.where.removeprefix(f"node {node_id}").removeprefix(", ")
        groups.setdefault((rest, err.sentence, err.cure), []).append(node_id)
    if len(groups) == 1 and len(errors) == 1:
        return next(iter(errors.values()))
    told = []
    cure = ""
    for (rest, sentence, its_cure), nodes in groups.items():
        who = f"node{'s' if len(nodes) > 1 else ''} {', '.join(nodes)}"
        told.append(f"{who}{f', {rest}' if rest else ''}: {sentence}")
        cure = cure or its_cure
    return ModelError("; ".join(told), cure=cure)
