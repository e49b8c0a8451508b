"""
Files of a distribution package are there, without what it depends on
=====================================================================

.. code-block:: yaml

    nova-novncproxy-page:
      package_files.present:
        - name: /opt/saltern/files/novnc
        - package: novnc
"""

from salt.exceptions import CommandExecutionError

__virtualname__ = "package_files"


def __virtual__():
    if "package_files.info" in __salt__:
        return __virtualname__
    return False, "the package_files execution module is not available"


def present(name, package):
    """
    A directory has the files of a package, of the version that apt would install.

    name
        The directory; ``usr/share/…`` of the package lies below it.
    package
        Its name. Nobody else updates what is unpacked, so it follows the host's package sources.
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": f"{name} has {package}"}
    before = __salt__["package_files.info"](name)
    try:
        wanted = {"package": package, "version": __salt__["package_files.candidate"](package)}
        if wanted == before:
            return ret
        ret["changes"] = {package: {"old": before.get("version"), "new": wanted["version"]}}
        if __opts__["test"]:
            ret.update(result=None, comment=f"{package} would be unpacked to {name}")
            return ret
        __salt__["package_files.unpack"](name, **wanted)
        ret["comment"] = f"{package} was unpacked to {name}"
    except (CommandExecutionError, OSError) as err:
        ret.update(result=False, changes={}, comment=str(err))
    return ret


def absent(name):
    """
    A directory with the files of a package is not there.

    name
        The directory; one that was not made of a package is left alone.
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": f"{name} is not there"}
    before = __salt__["package_files.info"](name)
    if not before:
        return ret
    ret["changes"] = {before["package"]: {"old": before["version"], "new": None}}
    if __opts__["test"]:
        ret.update(result=None, comment=f"{name} would be removed")
        return ret
    __salt__["package_files.remove"](name)
    ret["comment"] = f"{name} was removed"
    return ret
