"""
Packages of this host: what an upgrade would replace, fetching it beforehand, replacing it
==========================================================================================

apt decides: the versions are those of the repositories and pins that the model writes. Nothing is
removed, nothing that is on hold is touched, and what is not installed stays so unless a package
that is replaced needs it. ``/usr/sbin/policy-rc.d`` keeps packages from restarting daemons.

Packages are named as the shell would name files (``mariadb-*``). Without names it is about all
packages of the host but those that roles replace by themselves: ``linux:system:spared`` of the
pillar, ``{label: [names]}``.

:depends: apt, dpkg
"""

import fnmatch
import os
import re
import subprocess

from salt.exceptions import CommandExecutionError

__virtualname__ = "package_upgrade"

_TIMEOUT = 3600
_ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C",
    "DEBIAN_FRONTEND": "noninteractive",
    "APT_LISTCHANGES_FRONTEND": "none",
    # a file that was edited stays, as with Salt's own pkg states
    "UCF_FORCE_CONFFOLD": "1",
    # it restarts what a rollout has not taken out of service
    "NEEDRESTART_SUSPEND": "1",
}
_OPTIONS = [
    *("--quiet=2", "--yes", "--no-remove"),
    *("-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold"),
    *("-o", "DPkg::Lock::Timeout=120", "-o", "Dpkg::Use-Pty=0"),
]
_LINE = re.compile(r"^(Inst|Remv) (\S+)(?: \[(\S+)\])?(?: \((\S+))?", re.MULTILINE)
_URI = re.compile(r"^'([^']+)' (\S+)", re.MULTILINE)


def __virtual__():
    return __virtualname__


def pending(packages=None, refresh=False):
    """
    Tell what an upgrade would replace or add.

    packages
        Names or patterns; None: all of the host but those that roles replace by themselves
    refresh
        Fetch the lists of the repositories first

    Returns ``{name: {"old": version or "", "new": version}}``, sorted. Raises CommandExecutionError
    when apt refuses, a named package is on hold, or one that is to be spared would be replaced.

    CLI Example:

    .. code-block:: bash

        salt '*' package_upgrade.pending refresh=True
        salt 'inf*' package_upgrade.pending '[rabbitmq-server, "erlang-*"]'
    """
    if refresh:
        _refresh()
    found, _ = _planned(packages)
    return found


def prefetch(packages=None, refresh=True):
    """
    Fetch what an upgrade would install into apt's cache; nothing is installed.

    packages, refresh
        As of :py:func:`pending`

    Returns a sentence. Raises CommandExecutionError when a repository does not have it.

    CLI Example:

    .. code-block:: bash

        salt '*' package_upgrade.prefetch
    """
    if refresh:
        _refresh()
    found, arguments = _planned(packages)
    if not found:
        return "Nothing to fetch: every package is what its repository has."
    files = _unfetched(arguments)
    if files:
        _apt(*arguments, "--download-only")
    return f"{len(found)} packages are to be replaced; fetched {len(files)} files."


def unfetched(packages=None):
    """
    List the files that an upgrade would have to fetch.

    packages
        As of :py:func:`pending`

    Returns their names; files of a repository on the host's own disk are there already.

    CLI Example:

    .. code-block:: bash

        salt 'inf*' package_upgrade.unfetched '[rabbitmq-server]'
    """
    found, arguments = _planned(packages)
    return _unfetched(arguments) if found else []


def install(packages=None):
    """
    Replace packages by what the repositories have; daemons run on as they were started.

    packages
        As of :py:func:`pending`

    Returns what was replaced, as :py:func:`pending` does. Raises CommandExecutionError when apt or
    dpkg fails.

    CLI Example:

    .. code-block:: bash

        salt inf02.example.test package_upgrade.install '[rabbitmq-server]'
    """
    found, arguments = _planned(packages)
    if found:
        _apt(*arguments)
    return found


def replaced(unit):
    """
    Tell whether the program of a unit's main process was replaced since that was started.

    unit
        Of systemd

    Returns False also where the unit does not run.

    CLI Example:

    .. code-block:: bash

        salt 'ctl*' package_upgrade.replaced haproxy
    """
    shown = _run(["systemctl", "show", "--value", "--property=MainPID", unit], 60).stdout.strip()
    if not shown.isdecimal() or shown == "0":
        return False
    try:
        return os.readlink(f"/proc/{shown}/exe").endswith(" (deleted)")
    except OSError:
        return False  # it ended meanwhile


def _planned(packages):
    """Return what would be replaced, and the words for apt-get that do it."""
    spared = {} if packages is not None else _spared()
    if packages is None:
        others = [pattern for patterns in spared.values() for pattern in patterns]
        every = _simulated("upgrade", "--with-new-pkgs")
        names = [n for n, data in every.items() if data["old"] and not _matching(n, others)]
    else:
        installed = _installed()
        named = [name for name in sorted(installed) if _matching(name, packages)]
        _refuse_held([name for name in named if installed[name]])
        names = [name for name in named if not installed[name]]
    if not names:
        return {}, []
    arguments = ["install", "--only-upgrade", *names]
    found = _simulated(*arguments)
    for label, patterns in sorted(spared.items()):
        taken = [name for name, data in found.items() if data["old"] and _matching(name, patterns)]
        if taken:
            raise CommandExecutionError(
                f"With the other packages of this host apt would replace {', '.join(taken)}, which"
                f" {label} replaces by itself: upgrade {label} first."
            )
    return found, arguments


def _refuse_held(held):
    """A package that people hold is not replaced behind their backs, and not passed over either."""
    for name in held:
        shown = _run(["apt-cache", "policy", name], 60).stdout
        versions = dict(re.findall(r"^ +(Installed|Candidate): (\S+)", shown, re.MULTILINE))
        if versions.get("Installed") != versions.get("Candidate"):
            raise CommandExecutionError(
                f"{name} is on hold at {versions.get('Installed')}, and"
                f" {versions.get('Candidate')} is wanted: apt-mark unhold {name}."
            )


def _spared():
    told = ((__pillar__.get("linux") or {}).get("system") or {}).get("spared") or {}
    return {label: list(patterns) for label, patterns in told.items() if patterns}


def _matching(name, patterns):
    plain = name.partition(":")[0]
    return any(fnmatch.fnmatchcase(plain, pattern) for pattern in patterns)


def _installed():
    """Installed packages by name: whether they are on hold."""
    form = "${binary:Package}\t${db:Status-Abbrev}\n"
    shown = _checked(["dpkg-query", "--show", f"--showformat={form}"], 60)
    rows = (line.split("\t") for line in shown.splitlines())
    return {name: state[0] == "h" for name, state in rows if state[1:2] == "i"}


def _simulated(*arguments):
    shown = _apt("--simulate", *arguments)
    found = {}
    for verb, name, old, new in _LINE.findall(shown):
        if verb == "Remv":
            raise CommandExecutionError(f"apt would remove {name}: do that by hand first.")
        found[name] = {"old": old, "new": new}
    return dict(sorted(found.items()))


def _unfetched(arguments):
    lines = _URI.findall(_apt("--print-uris", *arguments))
    # apt reads a repository on a disk in its place
    return sorted(name for uri, name in lines if not uri.startswith(("file:", "copy:")))


def _refresh():
    _checked(["apt-get", "--quiet=2", "-o", "APT::Update::Error-Mode=any", "update"], 600)


def _apt(*arguments):
    return _checked(["apt-get", *_OPTIONS, *arguments], _TIMEOUT)


def _checked(command, timeout):
    done = _run(command, timeout)
    if done.returncode:
        lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        reason = next((line for line in lines if line.startswith(("E:", "dpkg: error"))), "")
        told = " ".join(word for word in command if word in _VERBS)
        reason = reason or " ".join(lines[-1:]) or "failed"
        raise CommandExecutionError(f"{command[0]} {told}: {reason[:300]}")
    return done.stdout


_VERBS = ("install", "upgrade", "update", "--download-only")


def _run(command, timeout):
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            env=_ENVIRONMENT,
        )
    except FileNotFoundError as err:
        raise CommandExecutionError(f"{command[0]} is not on this host.") from err
    except subprocess.TimeoutExpired as err:
        raise CommandExecutionError(f"{command[0]} did not end in {timeout} s.") from err
