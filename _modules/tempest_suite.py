"""
Runs of OpenStack's API suite (Tempest) on the host that has it.

A run is an instance of the unit ``tempest@<run>.service`` and a directory of its own below
``/var/lib/tempest``: it goes on when the job that began it is lost, and is asked for later.
What the suite needs the ids of (image, flavors, networks) is looked up by name when a run begins,
with the administrator's ``clouds.yaml``.
"""

from __future__ import annotations

import configparser
import json
import os
import pwd
import re
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from salt.exceptions import CommandExecutionError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    __salt__: dict[str, Callable[..., Any]]

ETC = Path("/etc/tempest")
RUNS = Path("/var/lib/tempest")
USER = "tempest"
#: Characters of a result that one call returns at most: a job's return has a limit.
PIECE = 262_144
_RUN = re.compile(r"\d{8}T\d{6}Z")
#: A line of the log for each test that ended.
_ENDED = re.compile(r" \.\.\. (ok|FAILED|SKIPPED)\b")


def _folder(run: str) -> Path:
    if not _RUN.fullmatch(str(run)):
        raise CommandExecutionError(f"{run!r} is no run: its name is like 20260131T120000Z.")
    folder = RUNS / run
    if not folder.is_dir():
        raise CommandExecutionError(
            f"This host has no run {run}; it has {', '.join(runs()) or 'none'}."
        )
    return folder


def _choice() -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((ETC / "choice.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise CommandExecutionError(
            f"{ETC}/choice.json cannot be read: {err}. Apply the role tempest.client."
        ) from None
    return found


def runs() -> list[str]:
    """
    List the runs that this host keeps, oldest first.

    CLI Example:

    .. code-block:: bash

        salt cfg01* tempest_suite.runs
    """
    if not RUNS.is_dir():
        return []
    return sorted(path.name for path in RUNS.iterdir() if _RUN.fullmatch(path.name))


def _active() -> list[str]:
    return [run for run in runs() if _goes_on(run)]


def lookup(cloud: str = "admin") -> dict[str, str]:
    """
    Return options of tempest.conf that the cloud knows: ``section.option`` -> value.

    cloud
        Entry of clouds.yaml of an administrator.

    :raises CommandExecutionError: the cloud lacks something, or does not answer

    CLI Example:

    .. code-block:: bash

        salt cfg01* tempest_suite.lookup
    """
    names = _choice()["names"]
    conn = __salt__["openstack_api.connection"](cloud)
    found: dict[str, str] = {}

    def need(kind: str, name: str, item: Any, *options: str) -> None:
        if item is None:
            raise CommandExecutionError(
                f"The cloud has no {kind} {name!r}, which tempest:client names: deploy the role"
                " openstack.resources, or name another one."
            )
        found.update(dict.fromkeys(options, item.id))

    with __salt__["openstack_api.spoken"]("look up what the API suite needs"):
        image = conn.image.find_image(names["image"])
        need("image", names["image"], image, "compute.image_ref", "compute.image_ref_alt")
        for option, key in (("flavor_ref", "flavor"), ("flavor_ref_alt", "flavor_alt")):
            need("flavor", names[key], conn.compute.find_flavor(names[key]), f"compute.{option}")
        network = conn.network.find_network(names["external_network"])
        need("network", names["external_network"], network, "network.public_network_id")
        extensions = sorted(one.alias for one in conn.network.extensions())
    found["network.floating_network_name"] = names["external_network"]
    found["network-feature-enabled.api_extensions"] = ",".join(extensions)
    return found


def ready() -> dict[str, Any]:
    """
    Tell whether a run could begin: what it needs exists in the cloud.

    Returns ``{"ok": bool, "sentence": str}`` and never raises, so it serves as a health check.

    CLI Example:

    .. code-block:: bash

        salt cfg01* tempest_suite.ready
    """
    try:
        found = lookup()
    except CommandExecutionError as err:
        return {"ok": False, "sentence": str(err)}
    return {
        "ok": True,
        "sentence": f"The API suite has what it needs: {len(found)} options looked up.",
    }


def start(
    regex: Sequence[str] = ("smoke",), concurrency: int = 2, exclude: Sequence[str] = ()
) -> dict[str, Any]:
    """
    Begin a run and return at once.

    regex
        Tests whose name or tags match one of these run. A name ends with its tags:
        ``tempest.api.image.v2.test_images.ListImagesTest.test_index[id-…,smoke]``.
    concurrency
        Workers. Each takes up to two accounts, and one that may do all.
    exclude
        Further regular expressions of tests to leave out, beside those of the model.

    Returns ``{"run": name, "excluded": [{regex, reason}]}``.

    :raises CommandExecutionError: a run goes on; the cloud lacks something; a wrong argument

    CLI Example:

    .. code-block:: bash

        salt cfg01* tempest_suite.start '["tempest.api.image"]' concurrency=2
    """
    chosen = [regex] if isinstance(regex, str) else list(regex)
    left_out = [exclude] if isinstance(exclude, str) else list(exclude)
    for text in [*chosen, *left_out]:
        try:
            re.compile(text)
        except (re.error, TypeError) as err:
            raise CommandExecutionError(f"{text!r} is no regular expression: {err}.") from None
        if "#" in text or "\n" in text:
            raise CommandExecutionError(
                f"{text!r} has a '#' or a line break: Tempest would cut it."
            )
    if not chosen:
        raise CommandExecutionError("No test is chosen: give a regular expression.")
    if not isinstance(concurrency, int) or concurrency < 1:
        raise CommandExecutionError("concurrency must be a number of workers from 1 on.")
    if busy := _active():
        raise CommandExecutionError(
            f"Run {busy[0]} goes on: wait for it, or stop tempest@{busy[0]}."
        )
    choice = _choice()
    looked_up = lookup()
    run = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    folder = RUNS / run
    folder.mkdir(mode=0o750)
    excluded = [*choice["exclude"], *({"regex": r, "reason": "asked for"} for r in left_out)]
    _write(folder / "tempest.conf", _config(looked_up, folder))
    _write(folder / "include", "\n".join(chosen) + "\n")
    _write(folder / "exclude", "".join(f"{row['regex']}  # {row['reason']}\n" for row in excluded))
    _write(folder / "environment", f"CONCURRENCY={concurrency}\n")
    owner = pwd.getpwnam(USER)
    os.chown(folder, owner.pw_uid, owner.pw_gid)
    for old in runs()[: -int(choice["keep"])]:
        shutil.rmtree(RUNS / old)
    done = __salt__["cmd.run_all"](
        ["systemctl", "start", f"tempest@{run}.service"], python_shell=False
    )
    if done["retcode"]:
        raise CommandExecutionError(f"tempest@{run}.service did not start: {done['stderr']}")
    return {"run": run, "excluded": excluded}


def _config(looked_up: dict[str, str], folder: Path) -> str:
    """tempest.conf of a run: the host's, with ids and with places of its own."""
    # oslo.config knows no interpolation of this kind, and its options are case sensitive
    parser = configparser.RawConfigParser(default_section="\0")
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string((ETC / "tempest.conf").read_text(encoding="utf-8"))
    own = {
        "DEFAULT.log_file": f"{folder}/tempest.log",
        "oslo_concurrency.lock_path": f"{folder}/lock",
    }
    for name, value in (looked_up | own).items():
        section, _, option = name.partition(".")
        if not parser.has_section(section):
            parser.add_section(section)
        parser.set(section, option, value)
    lines = []
    for section in parser.sections():
        lines += [f"[{section}]", *(f"{key} = {value}" for key, value in parser.items(section)), ""]
    return "\n".join(lines)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o640)
    os.chown(path, 0, pwd.getpwnam(USER).pw_gid)


def _goes_on(run: str) -> bool:
    """Whether a run goes on; while it ends its result is being written."""
    argv = ["systemctl", "show", "--property=ActiveState", "--value", f"tempest@{run}.service"]
    done = __salt__["cmd.run_all"](argv, python_shell=False)
    return done["stdout"].strip() in ("activating", "active", "deactivating", "reloading")


def status(run: str) -> dict[str, Any]:
    """
    Tell how far a run is.

    run
        As :func:`start` named it.

    Returns ``{"active": bool, "passed": int, "failed": int, "skipped": int, "bytes": of the
    result or None, "log": last lines when it ended without a result}``.

    :raises CommandExecutionError: there is no such run

    CLI Example:

    .. code-block:: bash

        salt cfg01* tempest_suite.status 20260131T120000Z
    """
    folder = _folder(run)
    active = _goes_on(run)
    log = folder / "run.log"
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    ended = _ENDED.findall(text)
    result = folder / "result.xml"
    size = result.stat().st_size if not active and result.exists() else 0
    return {
        "active": active,
        "passed": ended.count("ok"),
        "failed": ended.count("FAILED"),
        "skipped": ended.count("SKIPPED"),
        "bytes": size or None,
        "log": "" if active or size else "\n".join(text.splitlines()[-20:]),
    }


def result(run: str, offset: int = 0) -> str:
    """
    Return a piece of a run's result, JUnit XML; empty behind its end.

    run
        As :func:`start` named it.
    offset
        Characters to leave out: those that were read before.

    :raises CommandExecutionError: there is no such run, or it has no result

    CLI Example:

    .. code-block:: bash

        salt cfg01* tempest_suite.result 20260131T120000Z
    """
    path = _folder(run) / "result.xml"
    try:
        return path.read_text(encoding="utf-8", errors="replace")[offset : offset + PIECE]
    except OSError as err:
        raise CommandExecutionError(f"Run {run} has no result: {err.strerror}.") from None


def stop(run: str) -> bool:
    """
    Stop a run. It leaves no result, its log stays.

    run
        As :func:`start` named it.

    :raises CommandExecutionError: there is no such run, or systemd refuses

    CLI Example:

    .. code-block:: bash

        salt cfg01* tempest_suite.stop 20260131T120000Z
    """
    _folder(run)
    done = __salt__["cmd.run_all"](
        ["systemctl", "stop", f"tempest@{run}.service"], python_shell=False
    )
    if done["retcode"]:
        raise CommandExecutionError(f"tempest@{run}.service did not stop: {done['stderr']}")
    return True
