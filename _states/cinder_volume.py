"""
What a back end of Cinder needs of its host is there
====================================================

.. code-block:: yaml

    cinder-volume-group-local:
      cinder_volume.group_usable:
        - name: local
        - group: cinder-volumes
"""

__virtualname__ = "cinder_volume"


def __virtual__():
    if "cinder_service.group" in __salt__:
        return __virtualname__
    return False, "the cinder_service execution module is not available"


def group_usable(name, group):
    """
    The volume group of a back end is there, on a host that can use it; nothing is changed.

    name
        The back end.
    group
        The volume group.
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": ""}
    wrong = __salt__["cinder_service.group"](group)
    if wrong:
        ret.update(result=False, comment=f"the back end {name} cannot work: {wrong}")
    else:
        ret["comment"] = f"the volume group {group} of the back end {name} is there"
    return ret
