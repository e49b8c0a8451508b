"""
Neutron's database and OVN's
============================

After Neutron's database was loaded from a bundle, OVN's northbound database still has what was made
since, and lacks what was removed since. ``neutron-ovn-db-sync-util`` compares the two.

Source: https://docs.openstack.org/neutron/latest/ovn/migration.html and the program's own help.
"""

from salt.exceptions import CommandExecutionError

__virtualname__ = "neutron_ovn"

#: Where the code is that runs, and the files that neutron-server reads.
_VENV = "/opt/openstack/current/neutron"
_CONFIG = ("/etc/neutron/neutron.conf", "/etc/neutron/plugins/ml2/ml2_conf.ini")
#: Seconds; it reads all networks, ports, routers and security groups.
_LIMIT = 3600


def __virtual__():
    return __virtualname__


def sync(mode="repair", venv=_VENV, user="neutron"):
    """
    Make OVN's northbound database what Neutron's says.

    mode
        ``repair`` writes; ``log`` only says what differs
    venv
        Neutron's environment; the release that runs
    user
        Neutron's user

    Returns a sentence. Raises CommandExecutionError when the program fails; it may run again.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test neutron_ovn.sync mode=log
    """
    if mode not in ("repair", "log"):
        raise CommandExecutionError(f"{mode} is no mode. Take repair or log.")
    files = [option for file in _CONFIG for option in ("--config-file", file)]
    program = f"{venv}/bin/neutron-ovn-db-sync-util"
    __salt__["openstack_db.run"](
        [program, *files, f"--ovn-neutron_sync_mode={mode}"], user, timeout=_LIMIT
    )
    if mode == "log":
        return "What differs is in Neutron's log."
    return "OVN has what Neutron's database says."
