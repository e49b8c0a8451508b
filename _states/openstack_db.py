"""
Schemas of OpenStack services are those of their code
=====================================================

.. code-block:: yaml

    keystone-server-schema:
      openstack_db.synced:
        - name: keystone
        - config: /etc/keystone/keystone.conf
        - migrations: keystone/common/sql/migrations
        - commands: [[keystone-manage, db_sync]]
        - user: keystone
        - venv: /opt/openstack/current/keystone
"""

from salt.exceptions import CommandExecutionError

__virtualname__ = "openstack_db"


def __virtual__():
    if "openstack_db.status" in __salt__:
        return __virtualname__
    return False, "the openstack_db execution module is not available"


def synced(name, config, migrations, commands, user, venv="/usr", section="database", expand=()):
    """
    The database of a service has what its code needs; the commands run only when it has not.

    name
        Name of the service, for the comment.
    config
        Configuration file of the service.
    migrations
        Directory of its alembic revisions, below site-packages.
    commands
        Commands that bring the schema up to date, each a list; programs below ``venv/bin``.
    user
        The service's user.
    venv
        The service's virtual environment; ``/usr`` for distribution packages.
    section
        Section of the configuration with ``connection``.
    expand
        Commands that only add to a schema, so that the release before can go on with it. A
        database that is not empty is brought up to date by them; ``openstack_db.contract`` does
        the rest when no member runs that release any more. None: the service has no such step.

    A database that is ahead of the code fails the state, unless a newer release that lies on this
    host has only added to it: nothing is downgraded.
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": ""}
    where = {"config": config, "migrations": migrations, "user": user}
    where.update(venv=venv, section=section)
    if __opts__["test"] and not (
        __salt__["file.file_exists"](f"{venv}/bin/python3") and __salt__["file.file_exists"](config)
    ):
        ret.update(result=None, comment=f"the schema of {name} would be compared once installed")
        ret["changes"] = {"heads": {"old": "unknown", "new": "those of the code"}}
        return ret
    try:
        before = __salt__["openstack_db.status"](**where)
        if before["ahead"]:
            ret["comment"] = f"the schema of {name} was expanded by {before['ahead']}"
            return ret
        if _enough(before):
            waits = " but for what the release before needs" if before["pending"] else ""
            ret["comment"] = f"the schema of {name} is up to date{waits}"
            return ret
        changes = {"heads": {"old": before["database"], "new": before["code"]}}
        if __opts__["test"]:
            ret.update(result=None, changes=changes)
            ret["comment"] = f"the schema of {name} would be migrated"
            return ret
        adds = expand and before["database"]
        __salt__["openstack_db.sync"](expand if adds else commands, user, venv=venv)
        after = __salt__["openstack_db.status"](**where)
        changes["heads"]["new"] = after["database"]
        ret["changes"] = changes
        if not _enough(after):
            lacking = ", ".join(after["pending"])
            raise CommandExecutionError(f"the schema of {name} still lacks {lacking}")
        ret["comment"] = f"the schema of {name} was {'expanded' if adds else 'migrated'}"
    except CommandExecutionError as err:
        ret.update(result=False, comment=str(err))
    return ret


def _enough(found):
    """Whether nothing is missing but what is contracted at the end of an upgrade."""
    return set(found["pending"]) <= set(found["contract"])
