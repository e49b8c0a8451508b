"""
Domains, projects, roles, users, role assignments, services and endpoints, kept as asked.

Every state compares first, stops when nothing differs, changes nothing in test mode, and after
writing reads back: it fails when the API does not hold what was written. Fields that are not
given are not managed. A password appears in no change, comment or log; to keep it out of the
rendered SLS as well, name its pillar key with ``password_pillar``.

The calls are those of the execution modules ``openstack_api`` and ``openstack_identity``.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from salt.exceptions import CommandExecutionError, SaltInvocationError

if TYPE_CHECKING:
    from collections.abc import Callable

    __opts__: dict[str, Any]
    __pillar__: dict[str, Any]
    __salt__: dict[str, Callable[..., Any]]

State = dict


def __virtual__() -> bool | tuple[bool, str]:
    if "openstack_identity.find" in __salt__:
        return True
    return False, "openstack_identity needs its execution module, which needs openstacksdk"


def _state(func: Callable[..., State]) -> Callable[..., State]:
    """Make a state that never raises.

    In test mode, what an earlier step of the same run would cure (an API that is not up yet, a
    project that would have been created) is a prediction, not a failure.
    """

    @functools.wraps(func)
    def wrapper(name: str, *args: Any, **kwargs: Any) -> State:
        try:
            return func(name, *args, **kwargs)
        except (CommandExecutionError, SaltInvocationError) as err:
            if __opts__["test"] and getattr(err, "pending", False):
                changes = {name: {"old": "unknown", "new": "as asked"}}
                return _ret(name, None, f"It would be looked at then. Now: {err}.", changes)
            return _ret(name, False, f"{str(err).rstrip('.')}.")

    return wrapper


def _ret(name: str, result: bool | None, comment: str, changes: Any = None) -> State:
    return {"name": name, "result": result, "comment": comment, "changes": changes or {}}


def _secret(value: str | None, pillar_key: str | None) -> str | None:
    """Return the password itself, or what the pillar holds at ``a:b:c``."""
    if pillar_key is None:
        return value
    found: Any = __pillar__
    for part in pillar_key.split(":"):
        found = found.get(part) if isinstance(found, Mapping) else None
    if not isinstance(found, str) or not found:
        raise SaltInvocationError(f"The pillar has no text at {pillar_key}")
    return found


def _differences(before: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> dict[str, Any]:
    held = before or {}
    return {
        key: {"old": held.get(key), "new": value}
        for key, value in wanted.items()
        # Keystone shows an unset text as None or "", depending on the kind
        if held.get(key) != value and not (value == "" and held.get(key) is None)
    }


def _renews(
    where: dict[str, Any],
    before: Mapping[str, Any] | None,
    wanted: Mapping[str, Any],
    password: str | None,
    cloud: str,
) -> bool:
    """Tell whether a user's password has to be written."""
    if password is None or before is None:
        return password is not None
    if not wanted.get("is_enabled", before["is_enabled"]):
        return False  # a disabled user cannot authenticate: there is nothing to compare with
    return not before["is_enabled"] or not _works(where, password, cloud)


def _works(where: dict[str, Any], password: str, cloud: str) -> bool:
    return __salt__["openstack_api.password_works"](
        where["name"], password, domain=where["domain"], cloud=cloud
    )


def _present(
    name: str,
    kind: str,
    where: dict[str, Any],
    fields: dict[str, Any],
    cloud: str,
    password: str | None = None,
) -> State:
    """Compare, write, read back. ``fields`` with a value of None are not managed."""
    find = functools.partial(__salt__["openstack_identity.find"], kind, where, cloud=cloud)
    wanted = {key: value for key, value in fields.items() if value is not None}
    before = find()
    changes = _differences(before, wanted)
    label = f"The {kind} {name}"
    if before is None:
        changes = {"ensure": {"old": "absent", "new": "present"}, **changes}
    renews = _renews(where, before, wanted, password, cloud)
    if renews:
        changes["password"] = {"old": "another" if before else "none", "new": "as asked"}
    if not changes:
        return _ret(name, True, f"{label} is as asked.")
    done = "updated" if before else "created"
    if __opts__["test"]:
        return _ret(name, None, f"{label} would be {done}.", changes)

    secret = {"password": password} if renews else {}
    write = __salt__["openstack_identity.update" if before else "openstack_identity.create"]
    write(kind, where, {**wanted, **secret}, cloud=cloud)
    after = find()
    left = {"ensure"} if after is None else set(_differences(after, wanted))
    if renews and after and after["is_enabled"] and not _works(where, str(password), cloud):
        left.add("password")
    if left:
        what = ", ".join(sorted(left))
        return _ret(name, False, f"{label} was written, but reads back different: {what}.", changes)
    return _ret(name, True, f"{label} was {done}.", changes)


@_state
def absent(
    name: str,
    kind: str,
    domain: str = "Default",
    service: str | None = None,
    interface: str | None = None,
    region: str | None = None,
    cloud: str = "admin",
) -> State:
    """
    Delete an object, with what depends on it (a service's endpoints, a role's assignments).

    name
        Its name; for an endpoint any label.
    kind
        ``domain`` (disabled first), ``project``, ``user``, ``role``, ``service`` or ``endpoint``.
    domain
        Of a project or user.
    service, interface, region
        What finds an endpoint, as in :py:func:`endpoint_present`.
    cloud
        Entry of clouds.yaml.
    """
    find = functools.partial(__salt__["openstack_identity.find"], cloud=cloud)
    where: dict[str, Any] = {"name": name}
    owner: Any = True
    if kind == "endpoint":
        where = {"service": service, "interface": interface, "region": region}
        owner = find("service", {"name": service})
    elif kind in ("project", "user"):
        where["domain"] = domain
        owner = find("domain", {"name": domain})
    if not owner or find(kind, where) is None:
        return _ret(name, True, f"The {kind} {name} is absent.")
    changes = {"ensure": {"old": "present", "new": "absent"}}
    if __opts__["test"]:
        return _ret(name, None, f"The {kind} {name} would be deleted.", changes)
    __salt__["openstack_identity.delete"](kind, where, cloud=cloud)
    if find(kind, where) is not None:
        return _ret(name, False, f"The {kind} {name} was deleted, but is still there.")
    return _ret(name, True, f"The {kind} {name} was deleted.", changes)


@_state
def domain_present(
    name: str,
    description: str | None = None,
    is_enabled: bool | None = None,
    cloud: str = "admin",
) -> State:
    """
    Keep a domain.

    name
        Its name.
    description, is_enabled
        Its fields; not managed when not given.
    cloud
        Entry of clouds.yaml.
    """
    fields = {"description": description, "is_enabled": is_enabled}
    return _present(name, "domain", {"name": name}, fields, cloud)


@_state
def project_present(
    name: str,
    domain: str = "Default",
    description: str | None = None,
    is_enabled: bool | None = None,
    cloud: str = "admin",
) -> State:
    """
    Keep a project.

    name, domain
        Its name and its domain's.
    description, is_enabled
        Its fields; not managed when not given.
    cloud
        Entry of clouds.yaml.
    """
    fields = {"description": description, "is_enabled": is_enabled}
    return _present(name, "project", {"name": name, "domain": domain}, fields, cloud)


@_state
def role_present(name: str, description: str | None = None, cloud: str = "admin") -> State:
    """
    Keep a role.

    name
        Its name.
    description
        Not managed when not given.
    cloud
        Entry of clouds.yaml.
    """
    return _present(name, "role", {"name": name}, {"description": description}, cloud)


@_state
def user_present(
    name: str,
    domain: str = "Default",
    password: str | None = None,
    password_pillar: str | None = None,
    email: str | None = None,
    description: str | None = None,
    default_project: str | None = None,
    is_enabled: bool | None = None,
    cloud: str = "admin",
) -> State:
    """
    Keep a user. The password is tried by authenticating and written only when that fails.

    name, domain
        The user's name and domain.
    password
        The password itself.
    password_pillar
        Instead: the pillar key that holds it, as ``openstack:identity:user:alice:password``.
    email, description, is_enabled
        Fields; not managed when not given.
    default_project
        Name of a project in the user's domain; not managed when not given.
    cloud
        Entry of clouds.yaml.
    """
    project_id = None
    if default_project is not None:
        where = {"name": default_project, "domain": domain}
        project = __salt__["openstack_identity.find"]("project", where, cloud=cloud)
        if project is None:
            error = CommandExecutionError(
                f"There is no project {default_project!r} (domain {domain}), default of {name!r}"
            )
            error.pending = True
            raise error
        project_id = project["id"]
    fields = {
        "email": email,
        "description": description,
        "default_project_id": project_id,
        "is_enabled": is_enabled,
    }
    secret = _secret(password, password_pillar)
    return _present(name, "user", {"name": name, "domain": domain}, fields, cloud, secret)


@_state
def service_present(
    name: str,
    type: str,  # the API's own word
    description: str | None = None,
    is_enabled: bool | None = None,
    cloud: str = "admin",
) -> State:
    """
    Keep a service of the catalogue.

    name
        Its name, as ``glance``.
    type
        Its type, as ``image``.
    description, is_enabled
        Fields; not managed when not given.
    cloud
        Entry of clouds.yaml.
    """
    fields = {"type": type, "description": description, "is_enabled": is_enabled}
    return _present(name, "service", {"name": name}, fields, cloud)


@_state
def endpoint_present(
    name: str, service: str, interface: str, region: str, url: str, cloud: str = "admin"
) -> State:
    """
    Keep an endpoint of the catalogue; its region is created where it is missing.

    name
        Any label.
    service
        Name of the service.
    interface
        ``public``, ``internal`` or ``admin``.
    region
        Id of the region.
    url
        The URL that clients are given.
    cloud
        Entry of clouds.yaml.
    """
    where = {"service": service, "interface": interface, "region": region}
    return _present(name, "endpoint", where, {"url": url, "is_enabled": True}, cloud)


@_state
def role_assigned(
    name: str,
    role: str,
    user: str | None = None,
    group: str | None = None,
    project: str | None = None,
    domain: str | None = None,
    system: bool = False,
    user_domain: str = "Default",
    project_domain: str = "Default",
    assigned: bool = True,
    cloud: str = "admin",
) -> State:
    """
    Keep a role assigned, or not assigned.

    name
        Any label.
    role
        Name of the role.
    user, group
        Who gets it: exactly one of both.
    project, domain, system
        Where: exactly one of the three.
    user_domain, project_domain
        Domain of the user or group, and of the project.
    assigned
        False takes the role away.
    cloud
        Entry of clouds.yaml.
    """
    actor = {key: value for key, value in (("user", user), ("group", group)) if value}
    places = {"project": project, "domain": domain, "system": system}
    target: dict[str, Any] = {key: value for key, value in places.items() if value}
    if len(actor) != 1 or len(target) != 1:
        raise SaltInvocationError(
            f"Role assignment {name} needs one of user, group and one of project, domain, system"
        )
    actor["domain"] = user_domain
    target["project_domain"] = project_domain
    call = functools.partial(
        __salt__["openstack_identity.assignment"], role, actor, target, cloud=cloud
    )
    if call("validate") is assigned:
        return _ret(name, True, f"The assignment {name} is as asked.")
    changes = {"assigned": {"old": not assigned, "new": assigned}}
    if __opts__["test"]:
        return _ret(name, None, f"The assignment {name} would be changed.", changes)
    if call("assign" if assigned else "unassign") is not assigned:
        return _ret(name, False, f"The assignment {name} was written, but reads back different.")
    return _ret(name, True, f"The assignment {name} was changed.", changes)
