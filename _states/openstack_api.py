"""
The OpenStack APIs as a whole: wait until they can be asked.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    __opts__: dict[str, Any]
    __salt__: dict[str, Callable[..., Any]]


def __virtual__() -> bool | tuple[bool, str]:
    if "openstack_api.reachable" in __salt__:
        return True
    return False, "openstack_api needs its execution module, which needs openstacksdk"


def reachable(
    name: str, attempts: int = 30, interval: float = 2, cloud: str = "admin"
) -> dict[str, Any]:
    """
    Wait until Keystone authenticates the administrator; changes nothing.

    name
        Any label.
    attempts
        How often to try.
    interval
        Seconds between two tries.
    cloud
        Entry of clouds.yaml.
    """
    ret: dict[str, Any] = {"name": name, "result": True, "changes": {}}
    for turn in range(1, attempts + 1):
        answer = __salt__["openstack_api.reachable"](cloud=cloud)
        if answer["ok"]:
            return {**ret, "comment": answer["sentence"]}
        if __opts__["test"]:
            return {**ret, "comment": f"It would be waited for. Now: {answer['sentence']}"}
        if turn < attempts:
            time.sleep(interval)
    return {**ret, "result": False, "comment": f"{answer['sentence']} Tried {attempts} times."}
