"""
Files of a distribution package, without the packages that it depends on
========================================================================

Some packages bring a few static files and depend on a world that nobody here needs: the page of
noVNC wants Node.js, NumPy and a Python stack of OpenStack. What is unpacked here is not installed:
dpkg does not know it, none of the package's scripts runs, and only these files are there. apt
fetches the package and verifies it as ever.
"""

import json
import os
import shutil
import tempfile

import salt.utils.path
from salt.exceptions import CommandExecutionError

__virtualname__ = "package_files"

#: Written last: without it a directory does not count.
STAMP = ".package.json"
#: What apt says where it knows no version.
_NONE = "(none)"


def __virtual__():
    if salt.utils.path.which("dpkg-deb"):
        return __virtualname__
    return False, "package_files needs dpkg-deb"


def _run(argv, **more):
    done = __salt__["cmd.run_all"](argv, python_shell=False, ignore_retcode=True, **more)
    if done["retcode"]:
        said = "; ".join((done["stderr"] or done["stdout"]).splitlines()[-3:])
        raise CommandExecutionError(f"{argv[0]} failed with exit code {done['retcode']}: {said}")
    return done["stdout"]


def info(name):
    """
    Return what a directory was made of: ``{"package": …, "version": …}``, or ``{}``.

    name
        The directory.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test package_files.info /opt/saltern/files/novnc
    """
    try:
        with open(os.path.join(name, STAMP), encoding="utf-8") as stream:
            return json.load(stream)
    except (OSError, ValueError):
        return {}


def candidate(package):
    """
    Return the version that apt would install of a package.

    package
        Its name.

    Raises ``CommandExecutionError`` when its sources have none.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test package_files.candidate novnc
    """
    said = _run(["apt-cache", "policy", package], env={"LC_ALL": "C"})
    for line in said.splitlines():
        key, _, value = line.strip().partition(": ")
        if key == "Candidate" and value.strip() != _NONE:
            return value.strip()
    raise CommandExecutionError(
        f"no package source has {package}: look at its sources, and at apt-get update"
    )


def unpack(name, package, version):
    """
    Put the files of a package below a directory, in the place of what was there.

    name
        The directory; ``usr/share/…`` of the package lies below it.
    package, version
        What to fetch.

    Raises ``CommandExecutionError`` when it cannot be fetched or unpacked; what was there stays.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test package_files.unpack /opt/saltern/files/novnc novnc 1:1.3.0-1
    """
    above = os.path.dirname(name)
    os.makedirs(above, mode=0o755, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=above, prefix=".package-") as folder:
        # who fetches is apt's own user, where it can be
        fetched, made = os.path.join(folder, "fetched"), os.path.join(folder, "made")
        os.makedirs(fetched)
        os.makedirs(made, mode=0o755)
        _run(["apt-get", "--quiet", "download", f"{package}={version}"], cwd=fetched)
        (archive,) = os.listdir(fetched)
        _run(["dpkg-deb", "--extract", os.path.join(fetched, archive), made])
        os.chmod(made, 0o755)  # noqa: S103  # services read it
        with open(os.path.join(made, STAMP), "w", encoding="utf-8") as stream:
            json.dump({"package": package, "version": version}, stream)
        if os.path.lexists(name):
            os.rename(name, os.path.join(folder, "before"))
        os.rename(made, name)
    return info(name)


def remove(name):
    """
    Remove a directory that was made here; another one is left alone.

    name
        The directory.

    Returns whether there was one.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test package_files.remove /opt/saltern/files/novnc
    """
    if not info(name):
        return False
    shutil.rmtree(name)
    return True
