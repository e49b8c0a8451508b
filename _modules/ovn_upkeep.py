"""
Copies of OVN's databases, and the schema they have
===================================================
"""

import os

__virtualname__ = "ovn_upkeep"

_DATABASES = ("northbound", "southbound")


def __virtual__():
    return __virtualname__


def outdated():
    """
    Return the names of the databases that do not have the schema of the installed version.

    Raises CommandExecutionError when a server does not answer.

    CLI Example:

    .. code-block:: bash

        salt ntw01.example.test ovn_upkeep.outdated
    """
    ask = __salt__["ovn_database.ask"]
    return [one for one in _DATABASES if ask(one, "needs-conversion", "file").strip() == "yes"]


def convert():
    """
    Give the databases the schema of the installed version, unless they have it.

    Returns the names of those that were converted. Raises CommandExecutionError when a cluster
    refuses.

    CLI Example:

    .. code-block:: bash

        salt ntw01.example.test ovn_upkeep.convert
    """
    found = outdated()
    for database in found:
        __salt__["ovn_database.ask"](database, "convert", "file")
    return found


def backup(directory):
    """
    Write a copy of each database as this member has it, of no cluster, readable by root alone.

    directory
        It is made when missing; the copies are named ``northbound.db`` and ``southbound.db``

    Returns ``{path: bytes}``. Raises CommandExecutionError when a server does not answer.

    CLI Example:

    .. code-block:: bash

        salt ntw01.example.test ovn_upkeep.backup /var/backups/ovn
    """
    os.makedirs(directory, mode=0o700, exist_ok=True)
    found = {}
    for database in _DATABASES:
        text = __salt__["ovn_database.ask"](database, "backup", "schema")
        path = os.path.join(directory, f"{database}.db")
        handle = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(handle)
        os.replace(f"{path}.new", path)
        found[path] = os.path.getsize(path)
    return found
