"""
Objects of the Keystone API, by name.

Needs what ``openstack_api`` needs. Every kind of object that has a name or another natural key is
one row of ``KINDS``; the functions are the same for all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from salt.exceptions import CommandExecutionError, SaltInvocationError

try:
    import openstack  # noqa: F401

    HAS_SDK = True
except ImportError:
    HAS_SDK = False

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    __context__: dict[str, Any]
    __salt__: dict[str, Callable[..., Any]]

DOMAINS = "openstack_identity.domains"

__func_alias__ = {"list_": "list"}


class _Kind(NamedTuple):
    plural: str  #: the listing call of the SDK's identity proxy
    key: tuple[str, ...]  #: what finds one object
    fields: tuple[str, ...]  #: what is shown and may be managed


#: kind -> how the identity API finds and shows it. A key `domain`, `service` or `region` is a
#: name here and an id in the API.
KINDS = {
    "domain": _Kind("domains", ("name",), ("description", "is_enabled")),
    "project": _Kind("projects", ("name", "domain"), ("description", "is_enabled")),
    "group": _Kind("groups", ("name", "domain"), ("description",)),
    "user": _Kind(
        "users",
        ("name", "domain"),
        ("description", "email", "is_enabled", "default_project_id"),
    ),
    "role": _Kind("roles", ("name",), ("description",)),
    "service": _Kind("services", ("name",), ("type", "description", "is_enabled")),
    "endpoint": _Kind("endpoints", ("service", "interface", "region"), ("url", "is_enabled")),
}


def __virtual__() -> bool | tuple[bool, str]:
    if HAS_SDK:
        return True
    return False, "openstack_identity needs openstacksdk in the Python that runs Salt"


def _missing(what: str) -> CommandExecutionError:
    """There is no such object; ``pending``, as an earlier step of the same run may make it."""
    error = CommandExecutionError(f"There is no {what}")
    error.pending = True
    return error


def _connection(cloud: str) -> Any:
    return __salt__["openstack_api.connection"](cloud)


def _spoken(doing: str) -> Any:
    return __salt__["openstack_api.spoken"](doing)


def _kind(kind: str) -> _Kind:
    if kind not in KINDS:
        raise SaltInvocationError(f"Unknown kind {kind!r}. Known: {', '.join(sorted(KINDS))}.")
    return KINDS[kind]


def _label(kind: str, where: Mapping[str, Any]) -> str:
    """Say ``user 'glance' (domain Default)`` for an object."""
    rest = ", ".join(f"{k} {v}" for k, v in where.items() if k != "name" and v)
    name = f"{kind} {where['name']!r}" if where.get("name") else kind
    return f"{name} ({rest})" if rest else name


def _domain_id(conn: Any, domain: str) -> str:
    kept = __context__.setdefault(DOMAINS, {})
    if domain not in kept:
        found = [d for d in conn.identity.domains(name=domain) if d.name == domain]
        if not found:
            raise _missing(f"domain {domain!r}")
        kept[domain] = found[0].id
    return kept[domain]


def _query(conn: Any, kind: str, where: Mapping[str, Any]) -> dict[str, Any]:
    """Turn names into what the API is asked with."""
    query = {}
    for part in _kind(kind).key:
        value = where.get(part) or ("Default" if part == "domain" else None)
        if value is None:
            raise SaltInvocationError(f"A {kind} is found by {part}, which was not given")
        if part == "domain":
            query["domain_id"] = _domain_id(conn, value)
        elif part == "service":
            query["service_id"] = _one(conn, "service", {"name": value}).id
        elif part == "region":
            query["region_id"] = value
        else:
            query[part] = value
    return query


def _find(conn: Any, kind: str, where: Mapping[str, Any]) -> Any:
    query = _query(conn, kind, where)
    # Services cannot be filtered by name everywhere, so the answer is always filtered here too.
    asked = {} if kind == "service" else query
    found = [
        item
        for item in getattr(conn.identity, _kind(kind).plural)(**asked)
        if all(getattr(item, part) == value for part, value in query.items())
    ]
    if len(found) > 1:
        ids = ", ".join(item.id for item in found)
        raise CommandExecutionError(
            f"{len(found)} objects are {_label(kind, where)}: {ids}; remove the extra ones"
        )
    return found[0] if found else None


def _one(conn: Any, kind: str, where: Mapping[str, Any]) -> Any:
    found = _find(conn, kind, where)
    if found is None:
        raise _missing(_label(kind, where))
    return found


def _shown(kind: str, item: Any) -> dict[str, Any]:
    names = ["id", *_kind(kind).fields]
    if "name" in _kind(kind).key:
        names.insert(1, "name")
    return {name: getattr(item, name) for name in names}


def find(kind: str, where: Mapping[str, Any], cloud: str = "admin") -> dict[str, Any] | None:
    """
    Return one object as a mapping, or None.

    CLI Example:

    .. code-block:: bash

        salt cfg01 openstack_identity.find user '{name: glance, domain: Default}'

    kind
        ``domain``, ``project``, ``group``, ``user``, ``role``, ``service`` or ``endpoint``.
    where
        The key of that kind: ``name``, and ``domain`` (by default ``Default``) where it has one;
        for an endpoint ``service`` (name), ``interface`` and ``region``.
    cloud
        Entry of clouds.yaml.

    :raises CommandExecutionError: the API cannot be asked, or several objects fit
    """
    conn = _connection(cloud)
    with _spoken(f"look up {_label(kind, where)}"):
        item = _find(conn, kind, where)
    return None if item is None else _shown(kind, item)


def list_(kind: str, cloud: str = "admin") -> list[dict[str, Any]]:
    """
    Return all objects of a kind.

    CLI Example:

    .. code-block:: bash

        salt cfg01 openstack_identity.list endpoint

    kind
        As in :py:func:`find`.
    cloud
        Entry of clouds.yaml.

    :raises CommandExecutionError: the API cannot be asked
    """
    conn = _connection(cloud)
    with _spoken(f"list every {kind}"):
        return [_shown(kind, item) for item in getattr(conn.identity, _kind(kind).plural)()]


def create(
    kind: str, where: Mapping[str, Any], fields: Mapping[str, Any], cloud: str = "admin"
) -> dict[str, Any]:
    """
    Create an object and return it. The region of an endpoint is created where it is missing.

    CLI Example:

    .. code-block:: bash

        salt cfg01 openstack_identity.create project '{name: demo}' '{description: A project}'

    kind, where, cloud
        As in :py:func:`find`.
    fields
        Values of the new object, under the SDK's names.

    :raises CommandExecutionError: the API refuses
    """
    conn = _connection(cloud)
    with _spoken(f"create {_label(kind, where)}"):
        query = _query(conn, kind, where)
        region = query.get("region_id")
        if region and region not in {item.id for item in conn.identity.regions()}:
            conn.identity.create_region(id=region)
        item = getattr(conn.identity, f"create_{kind}")(**query, **fields)
    _forget(kind)
    return _shown(kind, item)


def update(
    kind: str, where: Mapping[str, Any], fields: Mapping[str, Any], cloud: str = "admin"
) -> dict[str, Any]:
    """
    Write fields of an existing object and return it.

    CLI Example:

    .. code-block:: bash

        salt cfg01 openstack_identity.update project '{name: demo}' '{is_enabled: false}'

    kind, where, cloud
        As in :py:func:`find`.
    fields
        Values to write, under the SDK's names; others are left alone.

    :raises CommandExecutionError: no such object, or the API refuses
    """
    conn = _connection(cloud)
    with _spoken(f"update {_label(kind, where)}"):
        item = getattr(conn.identity, f"update_{kind}")(_one(conn, kind, where), **fields)
    _forget(kind)
    return _shown(kind, item)


def delete(kind: str, where: Mapping[str, Any], cloud: str = "admin") -> bool:
    """
    Delete an object; False when there was none. A domain is disabled first, as Keystone asks.

    CLI Example:

    .. code-block:: bash

        salt cfg01 openstack_identity.delete project '{name: demo}'

    kind, where, cloud
        As in :py:func:`find`.

    :raises CommandExecutionError: the API refuses
    """
    conn = _connection(cloud)
    with _spoken(f"delete {_label(kind, where)}"):
        item = _find(conn, kind, where)
        if item is None:
            return False
        if kind == "domain":
            conn.identity.update_domain(item, is_enabled=False)
        getattr(conn.identity, f"delete_{kind}")(item)
    _forget(kind)
    return True


def _forget(kind: str) -> None:
    """A connection keeps the catalogue it began with, and a domain's id may have gone."""
    if kind in ("service", "endpoint"):
        __salt__["openstack_api.reconnect"]()
    if kind == "domain":
        __context__.pop(DOMAINS, None)


def _assignment(
    conn: Any, verb: str, role: str, actor: Mapping[str, str], target: Mapping[str, Any]
) -> Any:
    """Call ``<verb>_<target>_role_…_<actor>`` of the SDK with objects for names."""
    who = "user" if "user" in actor else "group"
    what = next(part for part in ("project", "domain", "system") if target.get(part))
    where = {"name": actor[who], "domain": actor.get("domain")}
    found: dict[str, Any] = {
        who: _one(conn, who, where),
        "role": _one(conn, "role", {"name": role}),
    }
    if what == "system":
        found["system"] = "all"
    elif what == "domain":
        found["domain"] = _one(conn, "domain", {"name": target["domain"]})
    else:
        key = {"name": target["project"], "domain": target.get("project_domain")}
        found["project"] = _one(conn, "project", key)
    names = {
        "validate": f"validate_{who}_has_{what}_role",
        "assign": f"assign_{what}_role_to_{who}",
        "unassign": f"unassign_{what}_role_from_{who}",
    }
    return getattr(conn.identity, names[verb])(**found)


def assignment(
    role: str,
    actor: Mapping[str, str],
    target: Mapping[str, Any],
    verb: str = "validate",
    cloud: str = "admin",
) -> bool:
    """
    Ask for, make or take away the assignment of a role; return whether it holds afterwards.

    CLI Example:

    .. code-block:: bash

        salt cfg01 openstack_identity.assignment admin '{user: glance}' '{project: service}'

    role
        Name of the role.
    actor
        ``{"user": name}`` or ``{"group": name}``, with ``domain`` (by default ``Default``).
    target
        ``{"project": name, "project_domain": name}``, ``{"domain": name}`` or
        ``{"system": True}``.
    verb
        ``validate`` (ask only), ``assign`` or ``unassign``.
    cloud
        Entry of clouds.yaml.

    :raises CommandExecutionError: something named does not exist, or the API refuses
    """
    if verb not in ("validate", "assign", "unassign"):
        raise SaltInvocationError(f"Unknown verb {verb!r}: use validate, assign or unassign")
    conn = _connection(cloud)
    with _spoken(f"{verb} role {role!r}"):
        if verb != "validate":
            _assignment(conn, verb, role, actor, target)
        return bool(_assignment(conn, "validate", role, actor, target))
