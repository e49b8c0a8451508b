"""
Release artifacts on a host
===========================

An artifact is an archive (``.tar.zst``) with one directory, made for one final path, and known by
its sha256. :py:func:`artifact.install <install>` fetches it, verifies the checksum *before*
anything is unpacked, unpacks beside the final path and renames; :py:func:`artifact.switch <switch>`
moves the ``current`` link in one step. Releases lie side by side, so going back is a switch.

Needs ``tar`` and ``zstd`` on the host. Nothing else than Salt's own Python is imported.
"""

import contextlib
import glob
import hashlib
import json
import logging
import os
import shutil
import ssl
import tempfile
import urllib.error
import urllib.parse
import urllib.request

import salt.utils.path
from salt.exceptions import CommandExecutionError, SaltInvocationError

log = logging.getLogger(__name__)

__virtualname__ = "artifact"

# The suite's own CA, put there by pki.host: the artifact server is verified against it.
CA = "/etc/saltern/pki/ca.crt"

# Written into an unpacked artifact, last: without it a directory does not count as installed.
STAMP = ".artifact.json"

# Where the distribution keeps Python modules; what no wheel has is linked from there.
DISTRIBUTION = "/usr/lib/python3/dist-packages"

# Seconds without a byte from the server.
TIMEOUT = 60


RELEASES = "/opt/openstack"


def __virtual__():
    missing = [tool for tool in ("tar",) if not salt.utils.path.which(tool)]
    if missing:
        return False, f"artifact needs {', '.join(missing)}"
    return __virtualname__


def info(name):
    """
    Return what is installed at a path: ``{"sha256": ..., "source": ...}``, or ``{}``.

    name
        The final path of an artifact, such as ``/opt/openstack/2025.1/keystone``.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test artifact.info /opt/openstack/2025.1/keystone
    """
    try:
        with open(os.path.join(name, STAMP), encoding="utf-8") as stream:
            found = json.load(stream)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return found if isinstance(found, dict) and found.get("sha256") else {}


def current(link):
    """
    Return where a ``current`` link points, or None when it is not a link.

    link
        Path of the link, such as ``/opt/openstack/current/keystone``.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test artifact.current /opt/openstack/current/keystone
    """
    return os.readlink(link) if os.path.islink(link) else None


def fetch(source, sha256, target, ca=CA):
    """
    Fetch a file and verify its checksum; a file that does not match is deleted.

    source
        ``https://``, ``file://`` or ``salt://`` URL.
    sha256
        Checksum that the file must have, hexadecimal.
    target
        Path to write.
    ca
        Certificates that an https server is verified against.

    Returns the number of bytes. Raises ``CommandExecutionError`` when the file cannot be had or
    has another checksum; the message names both.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test artifact.fetch https://cfg01.example.test/artifacts/x.tar.zst \\
            9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 /var/tmp/x.tar.zst
    """
    sha256 = str(sha256).lower()
    if len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
        raise SaltInvocationError(f"{sha256!r} is not a sha256 checksum")
    digest = hashlib.sha256()
    size = 0
    try:
        with _open(source, ca) as stream, open(target, "wb") as out:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
                size += out.write(chunk)
    except (OSError, urllib.error.URLError) as err:
        _unlink(target)
        known = isinstance(err, urllib.error.HTTPError)  # its text has the code, its reason not
        reason = err if known else getattr(err, "reason", None) or err
        raise CommandExecutionError(f"{source} cannot be fetched: {reason}") from err
    if digest.hexdigest() != sha256:
        _unlink(target)
        raise CommandExecutionError(
            f"{source} has sha256 {digest.hexdigest()}, expected {sha256}; nothing was changed"
        )
    return size


def _unlink(path):
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _open(source, ca):
    parts = urllib.parse.urlsplit(source)
    if parts.scheme == "salt":
        cached = __salt__["cp.cache_file"](source)
        if not cached:
            raise CommandExecutionError(f"{source} is not on the file server")
        return open(cached, "rb")
    if parts.scheme == "file":
        return open(urllib.parse.unquote(parts.path), "rb")
    if parts.scheme != "https":
        raise SaltInvocationError(f"{source}: an artifact comes by https, salt or file")
    context = ssl.create_default_context(cafile=ca)
    return urllib.request.urlopen(source, timeout=TIMEOUT, context=context)  # noqa: S310 - https


def install(name, source, sha256, ca=CA):
    """
    Install an artifact at its final path; what was there before is replaced as a whole.

    name
        Final path of the artifact. Its parent directory is created.
    source, sha256, ca
        As for :py:func:`artifact.fetch <fetch>`.

    Returns ``{"old": sha256 or None, "new": sha256}``; the same when it was there already.
    Raises ``CommandExecutionError``: then the path is as it was.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test artifact.install /opt/openstack/2025.1/keystone \\
            https://cfg01.example.test/artifacts/openstack/2025.1/keystone-27.1.0.tar.zst \\
            9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
    """
    name = os.path.normpath(name)
    sha256 = str(sha256).lower()
    before = info(name).get("sha256")
    if before == sha256:
        return {"old": before, "new": before}
    parent = os.path.dirname(name)
    os.makedirs(parent, mode=0o755, exist_ok=True)
    # beside the final path: a rename within one file system is one step
    beside = tempfile.mkdtemp(prefix=f".{os.path.basename(name)}.", dir=parent)
    try:
        archive = os.path.join(beside, "archive")
        fetch(source, sha256, archive, ca)
        tree = os.path.join(beside, "new")
        os.mkdir(tree, 0o755)
        argv = ["tar", "--zstd", "--no-same-owner", "--strip-components=1", "-C", tree]
        options = {"python_shell": False, "ignore_retcode": True}
        done = __salt__["cmd.run_all"]([*argv, "-xf", archive], **options)
        if done["retcode"]:
            raise CommandExecutionError(f"{source} cannot be unpacked: {done['stderr'].strip()}")
        with open(os.path.join(tree, STAMP), "w", encoding="utf-8") as stream:
            json.dump({"sha256": sha256, "source": source}, stream)
        old = os.path.join(beside, "old")
        if os.path.lexists(name):
            os.rename(name, old)
        try:
            os.rename(tree, name)
        except OSError:
            if os.path.lexists(old):
                os.rename(old, name)
            raise
    except OSError as err:
        raise CommandExecutionError(f"{name} cannot be installed: {err}") from err
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return {"old": before, "new": info(name).get("sha256")}


def prefetch(service, source, ca=CA, root=RELEASES):
    """
    Have the code of a release beside the one that runs, before its turn comes.

    service
        Name of the service.
    source
        Its ``source`` in the pillar: ``release``, ``url`` and ``sha256`` of an environment. Other
        engines have nothing that could lie beside what runs.
    ca
        As for :py:func:`artifact.fetch <fetch>`.
    root
        Where environments lie, by release and service.

    Returns a sentence. Raises ``CommandExecutionError``: then nothing was changed. An environment
    of that release which is there already is left alone, whatever it is: something may run from it.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test artifact.prefetch keystone \\
            '{release: "2026.1", url: "https://cfg01.example.test/x.tar.zst", sha256: 9f86d0…}'
    """
    if source.get("engine", "venv") != "venv" or not source.get("url"):
        return f"{service} has no environment to fetch."
    path = f"{root}/{source['release']}/{service}"
    if os.path.isdir(path):
        return f"{path} is there."
    install(path, source["url"], source["sha256"], ca)
    return f"{path} was fetched."


def switch(link, target):
    """
    Point a ``current`` link at an installed artifact, in one atomic step, and read it back.

    link
        Path of the link. Its parent directory is created.
    target
        Path of the artifact.

    Returns ``{"old": former target or None, "new": target}``. Raises ``CommandExecutionError``
    when the target is not an installed artifact or the link's place is taken by something else.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test artifact.switch /opt/openstack/current/keystone \\
            /opt/openstack/2025.1/keystone
    """
    if not info(target):
        raise CommandExecutionError(f"{target} is not an installed artifact; {link} stays")
    if os.path.lexists(link) and not os.path.islink(link):
        raise CommandExecutionError(f"{link} is not a link; move it away")
    before = current(link)
    if before == target:
        return {"old": before, "new": before}
    parent = os.path.dirname(link)
    os.makedirs(parent, mode=0o755, exist_ok=True)
    partial = os.path.join(parent, f".{os.path.basename(link)}.new")
    _unlink(partial)
    os.symlink(target, partial)
    os.replace(partial, link)
    after = current(link)
    if after != target:
        raise CommandExecutionError(f"{link} points to {after} after the switch to {target}")
    return {"old": before, "new": after}


def native(modules, source=DISTRIBUTION):
    """
    Find modules of the distribution's Python, each a file or a package, for an environment that
    no wheel brings them to (bindings of librados, librbd, libvirt), or only without what is
    compiled (the JSON parser of Open vSwitch).

    modules
        Names to import, such as ``[rados, rbd]``
    source
        Directory that the distribution's packages install to

    Returns ``{file name: path}``: an extension for every Python that the distribution has. Raises
    ``CommandExecutionError`` with the names of those that are not there.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test artifact.native '[rados, rbd]'
    """
    found, missing = {}, []
    for module in modules:
        stem = os.path.join(glob.escape(source), glob.escape(module))
        paths = [path for end in (".*so", ".py") for path in glob.glob(f"{stem}{end}")]
        paths += [os.path.dirname(path) for path in glob.glob(f"{stem}/__init__.py")]
        found.update({os.path.basename(path): path for path in paths})
        if not paths:
            missing.append(module)
    if missing:
        raise CommandExecutionError(
            f"{source} has no module {', '.join(missing)}: install the package that"
            " brings it (source:native:packages)"
        )
    return found


def link_native(name, links):
    """
    Make a directory hold exactly these links, so that an import from it finds nothing else.

    name
        The directory; made when it is not there. What is in it and no link is refused.
    links
        ``{file name: path}``, as :py:func:`artifact.native <native>` returns them

    Returns ``{"old": {file name: path}, "new": ...}``. Raises ``CommandExecutionError``.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test artifact.link_native /opt/openstack/native/glance '{}'
    """
    before = linked(name)
    os.makedirs(name, mode=0o755, exist_ok=True)
    for stale in set(before) - set(links):
        _unlink(os.path.join(name, stale))
    for file, path in links.items():
        if before.get(file) != path:
            partial = os.path.join(name, f".{file}.new")
            _unlink(partial)
            os.symlink(path, partial)
            os.replace(partial, os.path.join(name, file))
    return {"old": before, "new": linked(name)}


def linked(name):
    """
    Return what a directory of links holds: ``{file name: path}``; empty when it is not there.

    name
        The directory. Raises ``CommandExecutionError`` when something in it is no link.

    CLI Example:

    .. code-block:: bash

        salt ctl01.example.test artifact.linked /opt/openstack/native/glance
    """
    try:
        names = sorted(os.listdir(name))
    except FileNotFoundError:
        return {}
    strange = [file for file in names if not os.path.islink(os.path.join(name, file))]
    if strange:
        raise CommandExecutionError(f"{name} holds {strange[0]}, which is no link; move it away")
    return {file: os.readlink(os.path.join(name, file)) for file in names}
