"""
Phases of an upgrade by packages
================================

Names of packages are patterns, and only what is installed is replaced; see the execution module.
"""

from salt.exceptions import CommandExecutionError

__virtualname__ = "package_upgrade"


def __virtual__():
    return __virtualname__


def fetched(name, pkgs):
    """
    Keep what an upgrade would install in apt's cache, while what is installed runs.

    name
        For the log
    pkgs
        Names or patterns of packages
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": "Nothing to fetch."}
    try:
        if not __opts__["test"]:
            # what the repositories have now is what will be installed
            __salt__["package_upgrade.pending"](pkgs, refresh=True)
        files = __salt__["package_upgrade.unfetched"](pkgs)
        if not files:
            return ret
        ret["changes"] = dict.fromkeys(files, "fetched")
        if __opts__["test"]:
            ret.update(result=None, comment=f"Would fetch {len(files)} files.")
            return ret
        ret["comment"] = __salt__["package_upgrade.prefetch"](pkgs, refresh=False)
        left = __salt__["package_upgrade.unfetched"](pkgs)
    except CommandExecutionError as err:
        return __salt__["readback.unknown"](ret, "Packages", err, __opts__["test"])
    if left:
        ret.update(result=False, comment=f"Not in apt's cache afterwards: {', '.join(left)}.")
    return ret


def latest(name, pkgs):
    """
    Keep packages at the version that the repositories and pins prefer.

    name
        For the log
    pkgs
        Names or patterns of packages
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": "As the repositories have them."}
    try:
        wanted = __salt__["package_upgrade.pending"](pkgs, refresh=not __opts__["test"])
        if not wanted:
            return ret
        ret["changes"] = wanted
        if __opts__["test"]:
            ret.update(result=None, comment=f"Would replace {', '.join(wanted)}.")
            return ret
        __salt__["package_upgrade.install"](pkgs)
        left = __salt__["package_upgrade.pending"](pkgs)
    except CommandExecutionError as err:
        return __salt__["readback.unknown"](ret, "Packages", err, __opts__["test"])
    if left:
        ret.update(result=False, comment=f"Not replaced: {', '.join(left)}.")
        return ret
    ret["comment"] = f"Replaced {', '.join(wanted)}."
    return ret


def renewed(name, reload=False):
    """
    Keep a daemon running from the program that is installed.

    name
        Of the unit; one that does not run is left alone
    reload
        It takes the new program by a reload, which keeps its connections
    """
    verb = "reload" if reload else "restart"
    ret = {"name": name, "changes": {}, "result": True, "comment": "It runs what is installed."}
    try:
        if not __salt__["package_upgrade.replaced"](name):
            return ret
        ret["changes"] = {name: f"{verb}ed"}
        if __opts__["test"]:
            ret.update(result=None, comment=f"Would {verb} it: its program was replaced.")
            return ret
        if not __salt__[f"service.{verb}"](name):
            ret.update(result=False, comment=f"It cannot be {verb}ed: journalctl -u {name}.")
            return ret
        old = __salt__["package_upgrade.replaced"](name)
    except CommandExecutionError as err:
        return __salt__["readback.unknown"](ret, "Unit", err, __opts__["test"])
    if old or not __salt__["service.status"](name):
        told = "still runs its old program" if old else "does not run"
        ret.update(result=False, comment=f"It {told}: journalctl -u {name}.")
        return ret
    ret["comment"] = f"It was {verb}ed and runs what is installed."
    return ret
