"""
Volume types and quotas of the block storage API, kept as asked.

Compared, written and read back by ``openstack_resource``; fields that are not given are not
managed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    __salt__: dict[str, Callable[..., Any]]
    __states__: dict[str, Callable[..., Any]]

State = dict


def __virtual__() -> bool | tuple[bool, str]:
    if "openstack_resource.find" in __salt__:
        return True
    return False, "openstack_volume needs the execution module openstack_resource"


def type_present(
    name: str,
    description: str | None = None,
    is_public: bool | None = None,
    extra_specs: dict[str, str] | None = None,
    cloud: str = "admin",
) -> State:
    """
    Keep a volume type.

    name
        Its name.
    description
        A text.
    is_public
        Whether every project may use it; can never be changed.
    extra_specs
        Key -> value, as ``volume_backend_name``; keys that are not named are left alone.
    cloud
        Entry of clouds.yaml.
    """
    return __states__["openstack_resource.present"](
        name,
        "volume_type",
        {
            "description": description,
            "is_public": is_public,
            "extra_specs": extra_specs,
        },
        None,
        cloud,
    )


def quota(
    name: str,
    limits: dict[str, int] | None = None,
    domain: str = "Default",
    cloud: str = "admin",
) -> State:
    """
    Keep limits of a project.

    name, domain
        The project and its domain.
    limits
        Name -> number, as ``volumes``, ``gigabytes``, ``snapshots``; -1 is none.
        Without it the project gets the defaults again.
    cloud
        Entry of clouds.yaml.
    """
    return __states__["openstack_resource.quota"](name, "volume", limits, domain, cloud)
