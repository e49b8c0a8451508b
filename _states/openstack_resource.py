"""
Objects of the compute, network and block storage APIs and quotas, kept as asked.

The states of ``openstack_compute``, ``openstack_network`` and ``openstack_volume`` are these, with
the fields of each kind as arguments. Every state compares first, stops when nothing differs,
changes nothing in test mode, and after writing reads back: it fails when the API does not hold what
was written. Fields that are not given (None) are not managed.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from salt.exceptions import CommandExecutionError, SaltInvocationError

if TYPE_CHECKING:
    from collections.abc import Callable

    __opts__: dict[str, Any]
    __salt__: dict[str, Callable[..., Any]]

State = dict


def __virtual__() -> bool | tuple[bool, str]:
    if "openstack_resource.find" in __salt__:
        return True
    return False, "openstack_resource needs its execution module, which needs openstacksdk"


def _ret(name: str, result: bool | None, comment: str, changes: Any = None) -> State:
    return {"name": name, "result": result, "comment": comment, "changes": changes or {}}


def _kept(
    name: str,
    label: str,
    compare: Callable[[], dict[str, Any]],
    write: Callable[[], Any],
    words: tuple[str, str],
) -> State:
    """Compare, write, compare again; what the modules raise is the comment.

    In test mode, what an earlier step of the same run would cure (an API that is not up yet, a
    network that would have been created) is a prediction, not a failure.
    """
    try:
        changes = compare()
        if not changes:
            return _ret(name, True, f"{label} is {words[0]}.")
        if __opts__["test"]:
            return _ret(name, None, f"{label} would be {words[1]}.", changes)
        write()
        left = compare()
    except (CommandExecutionError, SaltInvocationError) as err:
        if __opts__["test"] and getattr(err, "pending", False):
            changes = {name: {"old": "unknown", "new": "as asked"}}
            return _ret(name, None, f"It would be looked at then. Now: {err}.", changes)
        return _ret(name, False, f"{str(err).rstrip('.')}.")
    if left:
        what = ", ".join(sorted(left))
        return _ret(name, False, f"{label} was written, but reads back different: {what}.", changes)
    return _ret(name, True, f"{label} was {words[1]}.", changes)


def present(
    name: str,
    kind: str,
    fields: dict[str, Any],
    where: dict[str, Any] | None = None,
    cloud: str = "admin",
) -> State:
    """
    Keep an object.

    name
        Its name.
    kind
        As in the execution module: ``flavor``, ``network``, …
    fields
        What is managed; a value of None is not.
    where
        What finds it beside its name, as ``{network: tenant}`` for a subnet.
    cloud
        Entry of clouds.yaml.
    """
    key = {"name": name, **(where or {})}
    given = {field: value for field, value in fields.items() if value is not None}
    return _kept(
        name,
        f"The {kind.replace('_', ' ')} {name}",
        functools.partial(__salt__["openstack_resource.compare"], kind, key, given, cloud=cloud),
        functools.partial(__salt__["openstack_resource.write"], kind, key, given, cloud=cloud),
        ("as asked", "written"),
    )


def absent(
    name: str, kind: str, where: dict[str, Any] | None = None, cloud: str = "admin"
) -> State:
    """
    Delete an object. A router leaves its subnets first; what is in use is refused by its service.

    name, kind, where, cloud
        As in :py:func:`present`. Where the network of a subnet or its project is not there, it is
        absent too.
    """
    key = {"name": name, **(where or {})}

    def compare() -> dict[str, Any]:
        try:
            found = __salt__["openstack_resource.find"](kind, key, cloud=cloud)
        except CommandExecutionError as err:
            if not getattr(err, "missing", False):
                raise
            found = None
        return {} if found is None else {"ensure": {"old": "present", "new": "absent"}}

    return _kept(
        name,
        f"The {kind.replace('_', ' ')} {name}",
        compare,
        functools.partial(__salt__["openstack_resource.delete"], kind, key, cloud=cloud),
        ("absent", "deleted"),
    )


def quota(
    name: str,
    api: str,
    limits: dict[str, int] | None = None,
    domain: str = "Default",
    cloud: str = "admin",
) -> State:
    """
    Keep limits of a project.

    name, domain
        The project and its domain.
    api
        ``compute``, ``network`` or ``volume``.
    limits
        Name -> number, by the SDK's names; -1 is no limit. None gives the defaults again.
    cloud
        Entry of clouds.yaml.
    """
    show = functools.partial(__salt__["openstack_quota.show"], api, name, domain, cloud=cloud)

    def compare() -> dict[str, Any]:
        held = show()
        wanted = show(defaults=True) if limits is None else limits
        unknown = sorted(set(wanted) - set(held)) if limits is not None else []
        if unknown:
            raise SaltInvocationError(
                f"The {api} quota has no limit {', '.join(unknown)}; it has {', '.join(held)}"
            )
        return {
            key: {"old": held[key], "new": value}
            for key, value in wanted.items()
            if key in held and held[key] != value
        }

    write = functools.partial(__salt__["openstack_quota.write"], api, name, limits, domain)
    if limits is None:
        write = functools.partial(__salt__["openstack_quota.reset"], api, name, domain)
    return _kept(
        name,
        f"The {api} quota of {name}",
        compare,
        functools.partial(write, cloud=cloud),
        ("as asked", "written"),
    )
