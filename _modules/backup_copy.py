"""
The database server as a whole: copied with mariadb-backup, put back after a disaster
=====================================================================================

A bundle of the kind ``full`` is a copy of the server's files while it runs; one of the kind
``incremental`` has what changed on the **same** server since another one. A member that was given
its data anew by another member has a history of changes of its own, so a mark in the data
directory, which such a transfer removes, says what an incremental copy may build on.

``stage`` makes a data directory of a full copy and its incremental ones, beside the present one.
``place`` exchanges them while the server is stopped; ``salt-run backup.restore`` does it on a
whole cluster.
"""

import contextlib
import itertools
import json
import os
import re
import shutil
import subprocess
import tempfile
import time

from salt.exceptions import CommandExecutionError

__virtualname__ = "backup_copy"

FULL, INCREMENTAL = "full", "incremental"
DATADIR = "/var/lib/mysql"
#: Says which full copy was the last of this data directory.
MARK = "saltern-backup.json"
STREAM = "files"
#: Where a data directory waits for its place: on the same disk, so that it is only renamed.
STAGED = ".restore"
_INFO = ("mariadb_backup_galera_info", "xtrabackup_galera_info", "donor_galera_info")


def __virtual__():
    return __virtualname__


def take(role, base=None):
    """
    Make a bundle with a copy of this server's files; it goes on serving.

    role
        Whose data it is, ``galera.server``
    base
        Bundle of this host to build on, ``galera.server/<host>/<id>``; None: a full copy

    Returns what ``backup_bundle.finish`` does. Raises CommandExecutionError; the server then has
    no such bundle.

    CLI Example:

    .. code-block:: bash

        salt inf03.example.test backup_copy.take galera.server
    """
    about, began = {}, time.monotonic()
    command = [
        *__salt__["backup_mariadb.options"]("mariadb-backup"), "--backup", "--stream=mbstream",
        "--galera-info",
    ]  # fmt: skip
    if base is not None:
        told = __salt__["backup_bundle.inspect"](base, role, [FULL, INCREMENTAL])
        first = told.get("full", told["id"])
        marked = _mark()
        if (
            told["host"] != __salt__["backup_client.settings"]()["host"]
            or marked.get("full") != first
        ):
            raise CommandExecutionError(
                f"Nothing can be built on {base}: the data of this server are not those it was"
                " taken"
                " of, as after a transfer from another member. Take a full one."
            )
        about = {"base": told["id"], "full": first}
        command.append(f"--incremental-lsn={told['lsn']['to']}")
    bundle = __salt__["backup_bundle.begin"](role, FULL if base is None else INCREMENTAL, **about)
    if base is None:
        # before the copy: whoever is given its data anew meanwhile has no mark
        _write_mark({"full": bundle["id"]})
    position = __salt__["backup_mariadb.position"]()
    databases = __salt__["backup_mariadb.databases"]()
    directory = tempfile.mkdtemp(prefix="copy-", dir=__salt__["backup_client.scratch"]())
    try:
        # small files: how far it came, and how it was made
        command += [f"--extra-lsndir={directory}", f"--target-dir={directory}"]
        __salt__["backup_bundle.add"](bundle, STREAM, command)
        lsn = _checkpoints(directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if _mark().get("full") != bundle.get("full", bundle["id"]):
        raise CommandExecutionError(
            "This server was given its data anew while it was copied. Take it again."
        )
    if base is not None and lsn["from"] != told["lsn"]["to"]:
        raise CommandExecutionError(
            f"The copy begins at {lsn['from']}, and {base} ends at {told['lsn']['to']}."
        )
    version = __salt__["backup_mariadb.query"]("SELECT @@version")[0][0]
    return __salt__["backup_bundle.finish"](
        bundle, position=position, exact=False, lsn=lsn, databases=databases, version=version,
        held=0, seconds=round(time.monotonic() - began, 1),
    )  # fmt: skip


def stage(bundles, directory=None):
    """
    Make a data directory of a full copy and the incremental ones that follow it.

    bundles
        ``galera.server/<host>/<id>`` of each, in their order
    directory
        That it is made as, which must not exist; None: beside the present one, for ``place``

    Returns ``{"directory", "position": "uuid:seqno" or None, "taken", "sentence"}``. Raises
    CommandExecutionError; nothing is left then.

    CLI Example:

    .. code-block:: bash

        salt inf01.example.test backup_copy.stage '[galera.server/inf03…/20260101T0Z-full-1a2b]'
    """
    directory = directory or f"{_datadir()}{STAGED}"
    if os.path.exists(directory):
        raise CommandExecutionError(
            f"{directory} exists, as of a restore that did not end. Remove it and begin again."
        )
    chain = [__salt__["backup_bundle.inspect"](name, kinds=[FULL, INCREMENTAL]) for name in bundles]
    _check_chain(chain)
    _same_version(chain[-1])
    work = f"{directory}.work"
    shutil.rmtree(work, ignore_errors=True)
    try:
        os.makedirs(directory, mode=0o700)
        os.makedirs(work, mode=0o700)
        for about in chain:
            target = directory if about is chain[0] else f"{work}/{about['id']}"
            os.makedirs(target, mode=0o700, exist_ok=True)
            file = __salt__["backup_bundle.fetch"](about, [STREAM], work)[STREAM]
            __salt__["backup_bundle.feed"](about, STREAM, file, ["mbstream", "-x", "-C", target])
            os.unlink(file)
            more = [] if about is chain[0] else [f"--incremental-dir={target}"]
            _prepare(directory, more)
            found = _galera_info(target) or _galera_info(directory)
            if target != directory:
                shutil.rmtree(target)
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    taken = chain[-1]["finished"]
    sentence = f"{directory} has the data of {taken}, {found or 'without a position'}."
    return {"directory": directory, "position": found, "taken": taken, "sentence": sentence}


def place(position=None):
    """
    Let the staged data directory take the place of this server's, which is put aside.

    position
        ``uuid:seqno`` that the cluster begins again with, as ``stage`` returned it; None: a
        server of no cluster

    The server must be stopped. Returns ``{"before": where the old one is, "sentence"}``.

    CLI Example:

    .. code-block:: bash

        salt-run backup.restore point=2026-01-01T12:00:00Z kind=full replace=True
    """
    data = _datadir()
    staged = f"{data}{STAGED}"
    if not os.path.isdir(staged):
        raise CommandExecutionError(f"{staged} is not there. Stage a bundle first.")
    _stopped()
    user = __salt__["backup_mariadb.owner"]()
    for folder, names, files in os.walk(staged):
        for name in (*names, *files):
            shutil.chown(os.path.join(folder, name), user, user)
    shutil.chown(staged, user, user)
    if position:
        uuid, _, number = position.rpartition(":")
        text = f"# GALERA saved state\nversion: 2.1\nuuid:    {uuid}\nseqno:   {number}\n"
        path = f"{staged}/grastate.dat"
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(f"{text}safe_to_bootstrap: 1\n")
        os.chmod(path, 0o660)
        shutil.chown(path, user, user)
    before = put_aside()
    os.rename(staged, data)
    return {"before": before, "sentence": f"{data} has the restored data; {before} the old ones."}


def put_aside():
    """
    Put this server's data directory aside, so that it joins as an empty one; it must be stopped.

    Returns where it is, None when it is not there. It stays until somebody removes it.

    CLI Example:

    .. code-block:: bash

        salt-run backup.restore point=2026-01-01T12:00:00Z kind=full replace=True
    """
    _stopped()
    data = _datadir()
    target = f"{data}.before-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    if not os.path.isdir(data):
        # put aside already, by one that ended between the two steps
        return None
    told, number = os.stat(data), 1
    while os.path.exists(target):
        number += 1
        target = f"{target.partition('Z')[0]}Z-{number}"
    os.rename(data, target)
    if not os.path.isdir(f"{data}{STAGED}"):
        # whoever is given data by another member needs a place for it
        os.mkdir(data, told.st_mode & 0o777)
        os.chown(data, told.st_uid, told.st_gid)
    return target


def verify(bundles):
    """
    Restore a full copy and its incremental ones into a server of its own, and look at every
    table.

    bundles
        ``galera.server/<host>/<id>`` of each, in their order

    Returns ``{"path", "databases": {name: tables}, "position", "seconds", "sentence"}``. Raises
    CommandExecutionError with what is not as it was.

    CLI Example:

    .. code-block:: bash

        salt-run backup.verify galera.server/inf03…/20260101T0Z-full-1a2b
    """
    wanted = __salt__["backup_bundle.inspect"](bundles[-1], kinds=[FULL, INCREMENTAL])
    needed = sum(
        sum(item["size"] for item in __salt__["backup_bundle.inspect"](name)["files"].values())
        for name in bundles
    )
    __salt__["backup_client.room"](2 * needed)
    began = time.monotonic()
    directory = tempfile.mkdtemp(prefix="verify-", dir=__salt__["backup_client.scratch"]())
    os.chmod(directory, 0o711)  # noqa: S103 - the scratch server's user has to pass
    held = None
    try:
        staged = stage(bundles, f"{directory}/data")
        user = __salt__["backup_mariadb.owner"]()
        _run(["chown", "--recursive", f"{user}:", f"{directory}/data"], "chown")
        held = __salt__["backup_mariadb.start"](f"{directory}/server", f"{directory}/data")
        socket = held["socket"]
        found = __salt__["backup_mariadb.databases"](socket)
        if found != wanted["databases"]:
            other = sorted(
                name for name in {*found, *wanted["databases"]}
                if found.get(name) != wanted["databases"].get(name)
            )  # fmt: skip
            raise CommandExecutionError(
                f"{bundles[-1]}: {', '.join(other)} are not as they were when it was taken."
            )
        check = [*__salt__["backup_mariadb.options"]("mariadb-check", socket), "--check"]
        said = _run([*check, "--all-databases", "--silent"], "A table is damaged", 7200).strip()
        if said:
            raise CommandExecutionError(f"{bundles[-1]}: {said.splitlines()[0][:300]}")
    finally:
        if held:
            __salt__["backup_mariadb.stop"](held)
        shutil.rmtree(directory, ignore_errors=True)
    seconds = round(time.monotonic() - began, 1)
    tables = {name: told["tables"] for name, told in found.items()}
    return {
        "path": bundles[-1], "databases": tables, "position": staged["position"],
        "seconds": seconds,
        "sentence": f"{bundles[-1]}: {len(bundles)} of its chain restored in {seconds} s,"
        f" {sum(tables.values())} tables of {len(tables)} databases are whole, at"
        f" {staged['position'] or 'no position of a cluster'}.",
    }  # fmt: skip


def _check_chain(chain):
    if not chain or chain[0]["kind"] != FULL:
        raise CommandExecutionError("A chain begins with a full bundle.")
    for before, about in itertools.pairwise(chain):
        fits = about["kind"] == INCREMENTAL and about["base"] == before["id"]
        fits = fits and about["host"] == before["host"]
        if not fits or about["lsn"]["from"] != before["lsn"]["to"]:
            raise CommandExecutionError(
                f"{about['id']} does not follow {before['id']}: one of the incremental ones between"
                " them is missing."
            )


def _same_version(about):
    version = __salt__["backup_mariadb.query"]("SELECT @@version")[0][0] if _runs() else None
    series = [text.split("-")[0].rsplit(".", 1)[0] for text in (version, about["version"]) if text]
    if len(set(series)) > 1:
        raise CommandExecutionError(
            f"{about['id']} is of MariaDB {about['version']}, and this host has {version}:"
            " files are"
            " only read by their own series. Restore its logical bundle."
        )


def _datadir():
    told = __salt__["backup_client.settings"]().get("mariadb") or {}
    return told.get("datadir") or DATADIR


def _mark():
    try:
        with open(f"{_datadir()}/{MARK}", encoding="utf-8") as stream:
            return json.load(stream)
    except (OSError, ValueError):
        return {}


def _write_mark(told):
    path = f"{_datadir()}/{MARK}"
    try:
        with open(f"{path}.new", "w", encoding="utf-8") as stream:
            json.dump(told, stream)
        os.replace(f"{path}.new", path)
    except OSError as err:
        raise CommandExecutionError(f"{path} cannot be written: {err.strerror}.") from None


def _checkpoints(directory):
    for name in ("mariadb_backup_checkpoints", "xtrabackup_checkpoints"):
        with (
            contextlib.suppress(FileNotFoundError),
            open(f"{directory}/{name}", encoding="utf-8") as stream,
        ):
            told = dict(re.findall(r"^(\w+)\s*=\s*(\d+)", stream.read(), flags=re.MULTILINE))
            return {"from": int(told["from_lsn"]), "to": int(told["to_lsn"])}
    raise CommandExecutionError("mariadb-backup does not say how far it came.")


def _galera_info(directory):
    for name in _INFO:
        with (
            contextlib.suppress(FileNotFoundError),
            open(f"{directory}/{name}", encoding="utf-8") as stream,
        ):
            found = re.match(r"[0-9a-f-]{36}:\d+", stream.read())
            if found:
                return found[0]
    return None


def _prepare(directory, more):
    _run(
        ["nice", "-n", "10", "mariadb-backup", "--no-defaults", "--prepare", "--use-memory=128M",
         f"--target-dir={directory}", *more],
        "The copy cannot be prepared", 7200,
    )  # fmt: skip


def _runs():
    return bool(__salt__["service.status"]("mariadb"))


def _stopped():
    if _runs():
        raise CommandExecutionError("MariaDB runs on this host. Stop it first.")


def _run(command, what, limit=600):
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=limit)
    except (OSError, subprocess.TimeoutExpired) as err:
        raise CommandExecutionError(f"{what}: {type(err).__name__} of {command[0]}.") from None
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise CommandExecutionError(f"{what}: {lines[-1][:300] if lines else 'no word why'}")
    return done.stdout
