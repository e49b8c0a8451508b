"""
Run a release artifact
======================

.. code-block:: yaml

    keystone-server-artifact:
      artifact.deployed:
        - name: /opt/openstack/2025.1/keystone
        - source: https://cfg01.example.test/artifacts/openstack/2025.1/keystone-27.1.0.tar.zst
        - sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
        - current: /opt/openstack/current/keystone
"""

from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "artifact"


def __virtual__():
    if "artifact.install" in __salt__:
        return __virtualname__
    return False, "the artifact execution module is not available"


def deployed(name, source, sha256, current=None, ca=None):
    """
    An artifact is installed at its final path and, when asked for, is the current one.

    name
        Final path of the artifact.
    source
        ``https://``, ``file://`` or ``salt://`` URL of the archive (``.tar.zst``).
    sha256
        Checksum of the archive. Another archive stops the state, with both checksums named; what
        runs, and the link, stay as they were.
    current
        Link that is to point at ``name``; None: no link.
    ca
        Certificates that an https server is verified against (default: the suite's own CA).
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": f"{name} is deployed"}
    sha256 = str(sha256).lower()
    installed = __salt__["artifact.info"](name).get("sha256")
    link = __salt__["artifact.current"](current) if current else None
    wanted = {}
    if installed != sha256:
        wanted["sha256"] = {"old": installed, "new": sha256}
    if current and link != name:
        wanted["current"] = {"old": link, "new": name}
    if not wanted:
        return ret
    if __opts__["test"]:
        ret.update(result=None, changes=wanted, comment=f"{name} would be deployed")
        return ret
    try:
        if "sha256" in wanted:
            options = {"ca": ca} if ca else {}
            done = __salt__["artifact.install"](name, source, sha256, **options)
            ret["changes"]["sha256"] = done
        if "current" in wanted:
            ret["changes"]["current"] = __salt__["artifact.switch"](current, name)
    except (CommandExecutionError, SaltInvocationError) as err:
        ret.update(result=False, comment=str(err))
        return ret
    found = __salt__["artifact.info"](name).get("sha256")
    if found != sha256:
        ret.update(result=False, comment=f"{name} has {found} after the deployment of {sha256}")
        return ret
    ret["comment"] = f"{name} was deployed"
    return ret


def native(name, modules, source=None):
    """
    A directory holds the distribution's extension modules of these names, and nothing else: an
    environment that has it in its path can import them, and what its lock pins stays in force.

    name
        The directory, such as ``/opt/openstack/native/glance``.
    modules
        Names to import, such as ``[rados, rbd]``.
    source
        Where the distribution's packages install them (default: Debian's).
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": f"{name} holds the modules"}
    try:
        before = __salt__["artifact.linked"](name)
        try:
            wanted = __salt__["artifact.native"](modules, **({"source": source} if source else {}))
        except CommandExecutionError:
            if not __opts__["test"]:
                raise
            # the packages may be about to come
            wanted = dict.fromkeys(modules, "not installed yet")
        if wanted == before:
            return ret
        ret["changes"] = {"links": {"old": before, "new": wanted}}
        if __opts__["test"]:
            ret.update(result=None, comment=f"{name} would hold {', '.join(modules)}")
            return ret
        ret["changes"]["links"] = __salt__["artifact.link_native"](name, wanted)
    except (CommandExecutionError, OSError) as err:
        ret.update(result=False, changes={}, comment=str(err))
        return ret
    ret["comment"] = f"{name} was given {', '.join(modules)}"
    return ret
