"""
What libvirt of this host listens on, and what it knows
=======================================================
"""

from salt.exceptions import CommandExecutionError

__virtualname__ = "libvirt_host"


def __virtual__():
    return __virtualname__


def sockets(name, sockets=(), unwanted=()):
    """
    Keep the sockets of the daemon open, as systemd has them now.

    A socket is made anew only while the daemon that has it is stopped, so the daemon is stopped
    when one is missing or was configured anew; the state that keeps it running follows.

    name
        Unit of the daemon
    sockets
        Units of sockets that are open and enabled
    unwanted
        Units of sockets that are neither
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": "The sockets are as wanted."}

    def wrong():
        found = {}
        for unit in sockets:
            open_ = __salt__["service.status"](unit) and __salt__["service.enabled"](unit)
            stale = __salt__["libvirt_host.stale"](unit)
            if not open_ or stale:
                found[unit] = "opened anew" if open_ else "opened"
        for unit in unwanted:
            if __salt__["service.status"](unit) or __salt__["service.enabled"](unit):
                found[unit] = "closed"
        return found

    try:
        changes = wrong()
        if not changes:
            return ret
        ret["changes"] = changes
        if __opts__["test"]:
            ret.update(result=None, comment="Sockets would be opened or closed.")
            return ret
        __salt__["service.stop"](name)
        for unit in unwanted:
            __salt__["service.stop"](unit)
            __salt__["service.disable"](unit)
        for unit in sockets:
            if unit in changes:
                __salt__["service.enable"](unit)
                __salt__["service.restart"](unit)
        left = wrong()
    except CommandExecutionError as err:
        return __salt__["readback.unknown"](ret, "Sockets", err, __opts__["test"])
    if left:
        ret.update(result=False, comment=f"Read back different: {', '.join(sorted(left))}.")
        return ret
    ret["comment"] = "The sockets were opened or closed."
    return ret


def certificate(name):
    """
    Look whether libvirt and QEMU begin with a certificate; nothing is changed.

    name
        Its path
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": "The certificate can be used."}
    try:
        why = __salt__["libvirt_host.unusable"](name)
    except CommandExecutionError as err:
        return __salt__["readback.unknown"](ret, "The certificate", err, __opts__["test"])
    if why:
        ret.update(result=False, comment=why)
    return ret


def network_absent(name):
    """
    Keep a network of libvirt's own away: networks of guests are the cloud's.

    name
        Of the network
    """

    def look():
        return name if name in __salt__["libvirt_host.networks"]() else None

    def act():
        __salt__["libvirt_host.remove_network"](name)

    return __salt__["readback.absent"](name, f"Network {name}", look, act, __opts__["test"])


def secret(name, uuid, usage, key):
    """
    Keep the key with which QEMU opens disks in Ceph; it is in no change and no comment.

    name
        Label of the secret
    uuid
        Under which guests name it
    usage
        What it is for, ``client.nova``
    key
        CephX key, or its 16 bytes in hexadecimal digits
    """
    wanted = {"usage": usage, "key": __salt__["ceph_cluster.cephx"](key)}

    def look():
        return __salt__["libvirt_host.secret"](uuid)

    def act(_):
        __salt__["libvirt_host.set_secret"](uuid, usage, wanted["key"])

    return __salt__["readback.present"](
        name, f"Secret {name}", wanted, look, act, __opts__["test"], secret=("key",)
    )
