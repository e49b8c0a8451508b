"""
Objects of the compute, network and block storage APIs, by name.

Needs what ``openstack_api`` needs. Every kind is one row of ``KINDS``; the functions are the same
for all of them. What is asked for is given with the SDK's names of the fields; where the API wants
the id of another object, its name is given here.
"""

from __future__ import annotations

import ipaddress
import json
from typing import TYPE_CHECKING, Any, NamedTuple

from salt.exceptions import CommandExecutionError, SaltInvocationError

try:
    import openstack  # noqa: F401

    HAS_SDK = True
except ImportError:
    HAS_SDK = False

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    __salt__: dict[str, Callable[..., Any]]


class _Kind(NamedTuple):
    api: str  #: proxy of the SDK's connection
    one: str  #: its word in the calls create_, update_ and delete_
    key: tuple[str, ...]  #: what finds one object beside its name
    fields: tuple[str, ...]  #: what is shown and may be managed
    fixed: tuple[str, ...] = ()  #: cannot be written once the object is there
    needs: tuple[str, ...] = ()  #: without these it cannot be created


#: kind -> how its API finds and shows it
KINDS = {
    "flavor": _Kind(
        "compute",
        "flavor",
        (),
        ("ram", "vcpus", "disk", "ephemeral", "swap", "is_public", "description", "extra_specs"),
        ("ram", "vcpus", "disk", "ephemeral", "swap", "is_public"),
        ("ram", "vcpus"),
    ),
    "keypair": _Kind(
        "compute", "keypair", ("user", "domain"), ("public_key",), ("public_key",), ("public_key",)
    ),
    "network": _Kind(
        "network",
        "network",
        ("project", "project_domain"),
        (
            *("description", "is_admin_state_up", "is_shared", "is_router_external", "mtu"),
            *("provider_network_type", "provider_physical_network", "provider_segmentation_id"),
            *("is_port_security_enabled", "dns_domain"),
        ),
        ("provider_network_type", "provider_physical_network", "provider_segmentation_id"),
    ),
    "subnet": _Kind(
        "network",
        "subnet",
        ("network", "project", "project_domain"),
        (
            *("cidr", "gateway_ip", "is_dhcp_enabled", "dns_nameservers", "allocation_pools"),
            *("host_routes", "description", "ipv6_address_mode", "ipv6_ra_mode"),
        ),
        ("cidr", "ipv6_address_mode", "ipv6_ra_mode"),
        ("cidr",),
    ),
    "router": _Kind(
        "network",
        "router",
        ("project", "project_domain"),
        ("description", "is_admin_state_up", "gateway", "is_snat_enabled", "interfaces"),
    ),
    "security_group": _Kind(
        "network",
        "security_group",
        ("project", "project_domain"),
        ("description", "rules"),
    ),
    "volume_type": _Kind(
        "block_storage", "type", (), ("description", "is_public", "extra_specs"), ("is_public",)
    ),
}
#: Fields that are no attribute of the SDK's object.
PARTS = ("extra_specs", "gateway", "is_snat_enabled", "interfaces", "rules")
#: Fields that are lists in which the order tells nothing.
UNORDERED = ("allocation_pools", "host_routes", "interfaces", "rules")


def __virtual__() -> bool | tuple[bool, str]:
    if HAS_SDK:
        return True
    return False, "openstack_resource needs openstacksdk in the Python that runs Salt"


def _connection(cloud: str) -> Any:
    return __salt__["openstack_api.connection"](cloud)


def _spoken(doing: str) -> Any:
    return __salt__["openstack_api.spoken"](doing)


def _kind(kind: str) -> _Kind:
    if kind not in KINDS:
        raise SaltInvocationError(f"Unknown kind {kind!r}. Known: {', '.join(sorted(KINDS))}")
    return KINDS[kind]


def _label(kind: str, where: Mapping[str, Any]) -> str:
    """Say ``subnet 'inside' (network tenant)`` for an object."""
    rest = ", ".join(
        f"{k} {where[k]}"
        for k in _kind(kind).key
        if where.get(k) and not (k.endswith("domain") and where[k] == "Default")
    )
    name = f"{kind.replace('_', ' ')} {where['name']!r}"
    return f"{name} ({rest})" if rest else name


def _missing(what: str) -> CommandExecutionError:
    """There is no such object; ``pending``, as an earlier step of the same run may make it."""
    error = CommandExecutionError(f"There is no {what}")
    error.pending = error.missing = True
    return error


def _identity(kind: str, name: str, domain: str | None, cloud: str) -> str:
    where = {"name": name, "domain": domain or "Default"}
    found = __salt__["openstack_identity.find"](kind, where, cloud=cloud)
    if found is None:
        raise _missing(f"{kind} {name!r} (domain {where['domain']})")
    return str(found["id"])


def _query(conn: Any, kind: str, where: Mapping[str, Any], cloud: str) -> dict[str, Any]:
    """What the API is asked with: an owner, and a subnet's network."""
    query: dict[str, Any] = {}
    if kind == "keypair" and where.get("user"):
        query["user_id"] = _identity("user", where["user"], where.get("domain"), cloud)
    if "project" in _kind(kind).key:
        query["project_id"] = (
            _identity("project", where["project"], where.get("project_domain"), cloud)
            if where.get("project")
            else conn.current_project_id
        )
    if kind == "subnet":
        network = _find(conn, "network", {**where, "name": where.get("network")}, cloud)
        if network is None:
            raise _missing(f"network {where.get('network')!r}")
        query["network_id"] = network.id
    return query


def _every(conn: Any, kind: str, query: Mapping[str, Any]) -> Any:
    proxy = getattr(conn, _kind(kind).api)
    if kind == "flavor":
        return [*proxy.flavors(is_public="None")]
    if kind == "volume_type":
        return [*proxy.types(is_public="None")]
    return [*getattr(proxy, f"{_kind(kind).one}s")(**query)]


def _find(conn: Any, kind: str, where: Mapping[str, Any], cloud: str) -> Any:
    if not where.get("name"):
        raise SaltInvocationError(f"A {kind} is found by its name, which was not given")
    query = _query(conn, kind, where, cloud)
    found = [item for item in _every(conn, kind, query) if item.name == where["name"]]
    if len(found) > 1:
        ids = ", ".join(item.id for item in found)
        raise CommandExecutionError(
            f"{len(found)} objects are {_label(kind, where)}: {ids}; remove the extra ones"
        )
    return found[0] if found else None


def _canonical(field: str, value: Any) -> Any:
    """One spelling of a value that has several."""
    if field == "extra_specs":
        return {str(key): str(one) for key, one in (value or {}).items()}
    if field == "cidr" and value:
        return __salt__["openstack_network.cidr"](value)
    if field == "public_key" and value:
        return " ".join(value.split())
    if field == "rules":
        value = [__salt__["openstack_network.rule"](one) for one in value or []]
    if field in UNORDERED:
        return sorted(value or [], key=lambda one: json.dumps(one, sort_keys=True))
    if isinstance(value, str | list | dict) and not value:
        return None
    return value


def _shown(conn: Any, kind: str, item: Any, cloud: str) -> dict[str, Any]:
    """An object as it is compared: names for ids, one spelling for each value."""
    found = {name: getattr(item, name) for name in _kind(kind).fields if name not in PARTS}
    if kind == "flavor":
        found["extra_specs"] = conn.compute.fetch_flavor_extra_specs(item).extra_specs
    elif kind == "volume_type":
        found["extra_specs"] = item.extra_specs
    elif kind == "router":
        found.update(__salt__["openstack_network.gateway"](item.id, cloud=cloud))
        found["interfaces"] = [*__salt__["openstack_network.interfaces"](item.id, cloud=cloud)]
    elif kind == "security_group":
        found["rules"] = [*__salt__["openstack_network.rules"](item.id, cloud=cloud).values()]
    values = {name: _canonical(name, value) for name, value in found.items()}
    return {"id": item.id, "name": item.name, **values}


def find(kind: str, where: Mapping[str, Any], cloud: str = "admin") -> dict[str, Any] | None:
    """
    Return one object as a mapping, or None.

    CLI Example:

    .. code-block:: bash

        salt cfg01 openstack_resource.find subnet '{name: inside, network: tenant}'

    kind
        ``flavor``, ``keypair``, ``network``, ``subnet``, ``router``, ``security_group`` or
        ``volume_type``.
    where
        ``name``; for a keypair also ``user`` and ``domain``; for what a project owns ``project``
        and ``project_domain`` (by default the administrator's own); for a subnet ``network``.
    cloud
        Entry of clouds.yaml.

    :raises CommandExecutionError: the API cannot be asked, or several objects fit
    """
    conn = _connection(cloud)
    with _spoken(f"look up {_label(kind, where)}"):
        item = _find(conn, kind, where, cloud)
        return None if item is None else _shown(conn, kind, item, cloud)


def compare(
    kind: str, where: Mapping[str, Any], fields: Mapping[str, Any], cloud: str = "admin"
) -> dict[str, Any]:
    """
    Return what differs from what is asked, ``{field: {"old": …, "new": …}}``; ``ensure`` is one of
    the fields where there is no such object.

    CLI Example:

    .. code-block:: bash

        salt cfg01 openstack_resource.compare flavor '{name: m1.tiny}' '{ram: 256, vcpus: 1}'

    kind, where, cloud
        As in :py:func:`find`.
    fields
        Values asked for. ``extra_specs`` are compared key by key, lists as a whole.

    :raises CommandExecutionError: what differs cannot be changed, or the API cannot be asked
    """
    row = _kind(kind)
    unknown = sorted(set(fields) - set(row.fields))
    if unknown:
        raise SaltInvocationError(f"A {kind} has no field {', '.join(unknown)}")
    before = find(kind, where, cloud)
    wanted = {name: _canonical(name, value) for name, value in fields.items()}
    held = before or {}
    changes: dict[str, Any] = {}
    for name, value in wanted.items():
        if name == "extra_specs":
            old = held.get(name) or {}
            changes.update(
                {
                    f"extra_specs {key}": {"old": old.get(key), "new": one}
                    for key, one in value.items()
                    if old.get(key) != one
                }
            )
        elif held.get(name) != value:
            changes[name] = {"old": held.get(name), "new": value}
    if before is None:
        missing = sorted(set(row.needs) - set(fields))
        if missing:
            what = ", ".join(missing)
            raise SaltInvocationError(f"There is no {_label(kind, where)}; to make it give {what}")
        return {"ensure": {"old": "absent", "new": "present"}, **changes}
    for name in row.fixed:
        if name in changes:
            raise CommandExecutionError(
                f"{_label(kind, where)} has {name} {changes[name]['old']!r}, not"
                f" {changes[name]['new']!r} as asked, and that can never be changed; give the new"
                " one another name, or remove this one first"
            )
    return changes


def write(
    kind: str, where: Mapping[str, Any], fields: Mapping[str, Any], cloud: str = "admin"
) -> bool:
    """
    Create an object, or write fields of one that is there. Returns True.

    CLI Example:

    .. code-block:: bash

        salt cfg01 openstack_resource.write network '{name: tenant}' '{mtu: 1400}'

    kind, where, cloud
        As in :py:func:`find`.
    fields
        Values to write; others are left alone. ``rules`` and ``interfaces`` are all that there
        will be.

    :raises CommandExecutionError: something named does not exist, or the API refuses
    """
    row, conn = _kind(kind), _connection(cloud)
    plain = {key: _canonical(key, one) for key, one in fields.items() if key not in PARTS}
    with _spoken(f"write {_label(kind, where)}"):
        proxy = getattr(conn, row.api)
        item = _find(conn, kind, where, cloud)
        if item is None:
            if kind == "subnet":
                plain["ip_version"] = ipaddress.ip_network(plain["cidr"]).version
            if kind == "flavor":
                plain.setdefault("disk", 0)  # the API wants a number: none but the image's size
            owner = _query(conn, kind, where, cloud)
            item = getattr(proxy, f"create_{row.one}")(name=where["name"], **owner, **plain)
        else:
            plain = {key: one for key, one in plain.items() if key not in row.fixed}
            if plain:
                item = getattr(proxy, f"update_{row.one}")(item, **plain)
        _write_parts(conn, kind, item, fields, cloud)
    return True


def _write_parts(conn: Any, kind: str, item: Any, fields: Mapping[str, Any], cloud: str) -> None:
    specs = _canonical("extra_specs", fields.get("extra_specs"))
    if specs and kind == "flavor":
        conn.compute.create_flavor_extra_specs(item, specs)
    elif specs:
        conn.block_storage.update_type_extra_specs(item, **specs)
    if "rules" in fields:
        __salt__["openstack_network.set_rules"](item.id, fields["rules"], cloud=cloud)
    if "interfaces" in fields:
        __salt__["openstack_network.set_interfaces"](item.id, fields["interfaces"], cloud=cloud)
    if "gateway" in fields or "is_snat_enabled" in fields:
        held = __salt__["openstack_network.gateway"](item.id, cloud=cloud)
        name = fields.get("gateway", held["gateway"])
        snat = fields.get("is_snat_enabled")
        __salt__["openstack_network.set_gateway"](item.id, name, snat, cloud=cloud)


def delete(kind: str, where: Mapping[str, Any], cloud: str = "admin") -> bool:
    """
    Delete an object; False when there was none. A router leaves its subnets first.

    CLI Example:

    .. code-block:: bash

        salt cfg01 openstack_resource.delete flavor '{name: m1.tiny}'

    kind, where, cloud
        As in :py:func:`find`.

    :raises CommandExecutionError: the API refuses, as for a network with servers
    """
    conn = _connection(cloud)
    with _spoken(f"delete {_label(kind, where)}"):
        item = _find(conn, kind, where, cloud)
        if item is None:
            return False
        if kind == "router":
            __salt__["openstack_network.set_interfaces"](item.id, [], cloud=cloud)
        # a listing does not tell whose a key pair is
        more = _query(conn, kind, where, cloud) if kind == "keypair" else {}
        getattr(getattr(conn, _kind(kind).api), f"delete_{_kind(kind).one}")(item, **more)
    return True
