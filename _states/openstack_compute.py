"""
Flavors, key pairs and quotas of the compute API, kept as asked.

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
    return False, "openstack_compute needs the execution module openstack_resource"


def flavor_present(
    name: str,
    ram: int | None = None,
    vcpus: int | None = None,
    disk: int | None = None,
    ephemeral: int | None = None,
    swap: int | None = None,
    is_public: bool | None = None,
    description: str | None = None,
    extra_specs: dict[str, str] | None = None,
    cloud: str = "admin",
) -> State:
    """
    Keep a flavor.

    name
        Its name.
    ram, vcpus, disk, ephemeral, swap
        MiB, number, GiB, GiB and MiB. They can never be changed: another size is another flavor.
    is_public
        Whether every project may use it; can never be changed.
    description
        A text.
    extra_specs
        Key -> value; keys that are not named are left alone.
    cloud
        Entry of clouds.yaml.
    """
    return __states__["openstack_resource.present"](
        name,
        "flavor",
        {
            "ram": ram,
            "vcpus": vcpus,
            "disk": disk,
            "ephemeral": ephemeral,
            "swap": swap,
            "is_public": is_public,
            "description": description,
            "extra_specs": extra_specs,
        },
        None,
        cloud,
    )


def keypair_present(
    name: str,
    user: str | None = None,
    domain: str = "Default",
    public_key: str | None = None,
    cloud: str = "admin",
) -> State:
    """
    Keep a key pair.

    name
        Its name.
    user, domain
        Whose it is; by default the administrator's own.
    public_key
        The line of an OpenSSH public key. It can never be changed.
    cloud
        Entry of clouds.yaml.
    """
    return __states__["openstack_resource.present"](
        name,
        "keypair",
        {
            "public_key": public_key,
        },
        {"user": user, "domain": domain},
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
        Name -> number, as ``cores``, ``instances``, ``ram`` (MiB); -1 is none.
        Without it the project gets the defaults again.
    cloud
        Entry of clouds.yaml.
    """
    return __states__["openstack_resource.quota"](name, "compute", limits, domain, cloud)
