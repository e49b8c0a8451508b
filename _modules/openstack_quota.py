"""
Quotas of projects in the compute, network and block storage APIs.

Needs what ``openstack_api`` needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from salt.exceptions import CommandExecutionError, SaltInvocationError

try:
    import openstack  # noqa: F401

    HAS_SDK = True
except ImportError:
    HAS_SDK = False

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    __salt__: dict[str, Callable[..., Any]]

#: API -> calls of the SDK: the limits of a project, the defaults, write, forget what was written
CALLS = {
    "compute": ("get_quota_set", "get_quota_set_defaults", "update_quota_set", "revert_quota_set"),
    "network": ("get_quota", "get_quota_default", "update_quota", "delete_quota"),
    "volume": ("get_quota_set", "get_quota_set_defaults", "update_quota_set", "revert_quota_set"),
}


def __virtual__() -> bool | tuple[bool, str]:
    if HAS_SDK:
        return True
    return False, "openstack_quota needs openstacksdk in the Python that runs Salt"


def _call(api: str, number: int, project: str, domain: str, cloud: str, **fields: Any) -> Any:
    if api not in CALLS:
        raise SaltInvocationError(f"Unknown API {api!r}. Known: {', '.join(CALLS)}")
    where = {"name": project, "domain": domain}
    found = __salt__["openstack_identity.find"]("project", where, cloud=cloud)
    if found is None:
        error = CommandExecutionError(f"There is no project {project!r} (domain {domain})")
        error.pending = True
        raise error
    conn = __salt__["openstack_api.connection"](cloud)
    proxy = conn.block_storage if api == "volume" else getattr(conn, api)
    with __salt__["openstack_api.spoken"](f"ask for the {api} quota of project {project!r}"):
        return getattr(proxy, CALLS[api][number])(found["id"], **fields)


def _numbers(item: Any) -> dict[str, int]:
    """The limits: what else an answer holds is no number."""
    flat = item.to_dict(computed=False)
    return {
        name: value
        for name, value in flat.items()
        if isinstance(value, int) and not isinstance(value, bool)
    }


def show(
    api: str, project: str, domain: str = "Default", defaults: bool = False, cloud: str = "admin"
) -> dict[str, int]:
    """
    Return the limits of a project, by the SDK's names; -1 is no limit.

    CLI Example:

    .. code-block:: bash

        salt cfg01 openstack_quota.show compute demo

    api
        ``compute``, ``network`` or ``volume``.
    project, domain
        The project and its domain, by name.
    defaults
        What a project has that nobody wrote a quota for.
    cloud
        Entry of clouds.yaml.

    :raises CommandExecutionError: no such project, or the API cannot be asked
    """
    return _numbers(_call(api, 1 if defaults else 0, project, domain, cloud))


def write(
    api: str,
    project: str,
    limits: Mapping[str, int],
    domain: str = "Default",
    cloud: str = "admin",
) -> bool:
    """
    Write limits of a project; others are left alone. Returns True.

    CLI Example:

    .. code-block:: bash

        salt cfg01 openstack_quota.write compute demo '{cores: 8}'

    api, project, domain, cloud
        As in :py:func:`show`.
    limits
        Name -> number; -1 is no limit.

    :raises CommandExecutionError: the API refuses
    """
    _call(api, 2, project, domain, cloud, **limits)
    return True


def reset(api: str, project: str, domain: str = "Default", cloud: str = "admin") -> bool:
    """
    Give a project the default limits again. Returns True.

    CLI Example:

    .. code-block:: bash

        salt cfg01 openstack_quota.reset compute demo

    api, project, domain, cloud
        As in :py:func:`show`.

    :raises CommandExecutionError: the API refuses
    """
    _call(api, 3, project, domain, cloud)
    return True
