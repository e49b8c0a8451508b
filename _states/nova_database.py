"""
Nova's databases are those of its code, and its cells and hosts are registered
==============================================================================

.. code-block:: yaml

    nova-database-cells:
      nova_database.registered:
        - name: cells
        - venv: /opt/openstack/2025.1/nova
"""

from salt.exceptions import CommandExecutionError

__virtualname__ = "nova_database"


def __virtual__():
    if "nova_database.status" in __salt__:
        return __virtualname__
    return False, "the nova_database execution module is not available"


def registered(name, venv="/opt/openstack/current/nova", config=None, cells=None, user="nova"):
    """
    Schemas, cells and hosts of Nova are as the code and the model want them.

    name
        For the comment.
    venv
        Nova's virtual environment; ``/usr`` for distribution packages.
    config
        Configuration files of the control plane, in the order in which they are read.
    cells
        JSON file with the cells that are wanted.
    user
        Nova's user.

    Databases and message queues of cells follow what is wanted. Cells that are registered and not
    wanted stay, and are named. A database of a newer release fails the state.
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": ""}
    where = {"venv": venv, "user": user}
    where.update({key: value for key, value in (("config", config), ("cells", cells)) if value})
    if __opts__["test"] and not __salt__["file.file_exists"](f"{venv}/bin/python3"):
        ret.update(result=None, comment="Nova's databases would be compared once it is installed")
        ret["changes"] = {"databases": {"old": "unknown", "new": "as wanted"}}
        return ret
    try:
        before = __salt__["nova_database.status"](**where)
        kept = ", ".join(before["unknown"])
        more = f"; registered and not wanted: {kept}" if kept else ""
        if not before["missing"]:
            ret["comment"] = f"Nova's databases and {name} are as wanted{more}"
            return ret
        if __opts__["test"]:
            ret.update(result=None, changes={"made": before["missing"]})
            ret["comment"] = f"Nova's databases and {name} would be brought up to date{more}"
            return ret
        __salt__["nova_database.register"](**where)
        ret["changes"] = {"made": before["missing"]}
        # a compute may have come meanwhile: it is not this run's
        left = [
            what for what in __salt__["nova_database.status"](**where)["missing"]
            if not what.startswith("host ") or what in before["missing"]
        ]  # fmt: skip
        if left:
            raise CommandExecutionError(f"Nova's databases still lack: {', '.join(left)}")
        ret["comment"] = f"Nova's databases and {name} were brought up to date{more}"
    except CommandExecutionError as err:
        ret.update(result=False, comment=str(err))
    return ret
