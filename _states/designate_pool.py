"""
Pools of name servers are those of the model
============================================

.. code-block:: yaml

    designate-central-pool:
      designate_pool.synced:
        - name: /etc/designate/pools.yaml
        - venv: /opt/openstack/current/designate
"""

import time

from salt.exceptions import CommandExecutionError

__virtualname__ = "designate_pool"

#: designate-central was started just now, and writes for us.
ATTEMPTS = 6
PAUSE = 5


def __virtual__():
    if "designate_pool.compare" in __salt__:
        return __virtualname__
    return False, "the designate_pool execution module is not available"


def synced(name, venv="/opt/openstack/current/designate"):
    """
    Designate has every pool of a file, as it is there. A pool that the file does not have stays.

    name
        The file.
    venv
        Designate's virtual environment; ``/usr`` for distribution packages.
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": ""}
    if __opts__["test"] and not (
        __salt__["file.file_exists"](f"{venv}/bin/python3") and __salt__["file.file_exists"](name)
    ):
        ret.update(result=None, comment="the pools would be compared once Designate is installed")
        ret["changes"] = {"pools": {"old": "unknown", "new": "those of the model"}}
        return ret
    try:
        found = __salt__["designate_pool.compare"](name, venv=venv)
        kept = f"; others are left alone: {', '.join(found['others'])}" if found["others"] else ""
        if not found["pending"]:
            ret["comment"] = f"the pools are as wanted{kept}"
            return ret
        ret["changes"] = {"pools": {"old": "", "new": ", ".join(found["pending"])}}
        if __opts__["test"]:
            ret.update(result=None, comment=f"pools would be written{kept}")
            return ret
        _written(name, venv)
        left = __salt__["designate_pool.compare"](name, venv=venv)["pending"]
        if left:
            raise CommandExecutionError(f"pools still differ: {', '.join(left)}")
        ret["comment"] = f"pools were written{kept}"
    except CommandExecutionError as err:
        ret.update(result=False, comment=str(err))
    return ret


def _written(name, venv):
    """Let designate-manage write; it is told more than once while designate-central comes up."""
    for left in reversed(range(ATTEMPTS)):
        try:
            __salt__["designate_pool.update"](name, venv=venv)
        except CommandExecutionError:
            if not left:
                raise
            time.sleep(PAUSE)
        else:
            break
