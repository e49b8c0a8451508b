"""
The upgrade of one service, on copies of its databases
======================================================

With the code of the next release and the very functions that an upgrade calls; only the
configuration is another one. It names the copies, a message bus that ends in the process, and
nothing of production: no OVN, no Ceph, no password. See :py:mod:`rehearsal`.
"""

import json
import os
import secrets
import shutil
import time

from salt.exceptions import CommandExecutionError

__virtualname__ = "rehearsal_service"

RELEASES = "/opt/openstack"
#: Seconds that one command of a migration may take.
LIMIT = 6 * 3600
#: What is filled in where a configuration says ``{venv}``, ``{url[nova]}``, ``{copy[nova]}``, …
_URL = "mysql+pymysql://{user}@/{name}?unix_socket={socket}&charset=utf8mb4"


def __virtual__():
    return __virtualname__


def prepare(spec):
    """
    Have the code of both releases on this host, and write the configuration of the copies.

    spec
        What ``saltern.rehearsal.services`` says of the service: ``service``, ``source`` and
        ``before`` (an environment each), ``databases`` ({alias: name of the copy}), ``files``
        ({file: {section: {option: value}}}), ``schemas``, ``expand``, ``contract``, ``sync``,
        ``setup``, ``check``, ``check_script``, ``cells``, ``api``

    Returns ``{"seconds", "sentence"}``. Raises CommandExecutionError.

    CLI Example:

    .. code-block:: bash

        salt-run rehearse.run
    """
    began, service = time.monotonic(), spec["service"]
    told = []
    for source in (spec["before"], spec["source"]):
        if source.get("engine", "venv") != "venv" or not source.get("url"):
            raise CommandExecutionError(
                f"{service} {source.get('release')} does not come as an environment, so it cannot"
                " be run beside another release."
            )
        told.append(__salt__["artifact.prefetch"](service, source))
    seconds = round(time.monotonic() - began, 1)
    user = __salt__["rehearsal.user"]()
    where = _where(service)
    shutil.rmtree(where["top"], ignore_errors=True)
    for path, owner in ((where["top"], "root"), (where["etc"], "root"), (where["var"], user)):
        os.makedirs(path, mode=0o750)
        shutil.chown(path, owner, user)
    known = {
        **where,
        "venv": venv(spec["source"], service),
        "user": user,
        "region": spec["region"],
        "password": _password(),
        "copy": spec["databases"],
        "url": {
            alias: _URL.format(user=user, name=name, socket=__salt__["rehearsal.socket"]())
            for alias, name in spec["databases"].items()
        },
    }
    for name, sections in spec["files"].items():
        _write(f"{where['etc']}/{name}", _ini(_filled(sections, known)), user)
    if spec.get("cells"):
        _write(f"{where['etc']}/cells.json", json.dumps(_filled(spec["cells"], known)), user)
    api = _filled(spec.get("api") or {}, known)
    kept = {key: value for key, value in spec.items() if key not in ("files", "cells", "api")}
    text = json.dumps({**kept, "cells": bool(spec.get("cells")), "api": api})
    _write(f"{where['top']}/spec.json", text, "root")
    with __salt__["rehearsal_room.inside"]():
        _commands(kept, known["venv"], _filled(spec.get("setup") or [], known))
    return {"seconds": seconds, "sentence": " ".join(told)}


def expand(service):
    """
    Add to the schemas of the copies what the next release needs, as the upgrade does while the
    present one serves.

    service
        Its name

    Returns ``{"seconds", "sentence"}``. Raises CommandExecutionError.

    CLI Example:

    .. code-block:: bash

        salt-run rehearse.run
    """
    spec, where = _spec(service), _where(service)
    code = venv(spec["source"], service)
    began = time.monotonic()
    with __salt__["rehearsal_room.inside"]():
        if spec["cells"]:
            told = __salt__["nova_database.register"](
                code, _files(spec), f"{where['etc']}/cells.json", __salt__["rehearsal.user"]()
            )
            sentence = f"made: {', '.join(told['missing']) or 'nothing'}"
        else:
            before = _statuses(spec, code)
            adds = spec["expand"] and all(one["database"] for one in before)
            _commands(spec, code, spec["expand"] if adds else spec["sync"])
            pending = sorted({name for one in before for name in one["pending"]})
            sentence = f"revisions to come: {', '.join(pending) or 'none'}"
        lacking = _lacking(_statuses(spec, code))
    if lacking:
        raise CommandExecutionError(f"The schema of {service} still lacks {', '.join(lacking)}.")
    return {"seconds": round(time.monotonic() - began, 1), "sentence": sentence}


def check(service):
    """
    Ask the next release whether it finds something in the copies that speaks against an upgrade.

    service
        Its name

    Returns ``{"seconds", "sentence", "warnings": [text]}``. Raises CommandExecutionError when it
    does, with what it said.

    Source: the services' ``<service>-status upgrade check``; its exit code is 0, 1 with warnings,
    2 with failures.

    CLI Example:

    .. code-block:: bash

        salt-run rehearse.run
    """
    spec = _spec(service)
    if not spec["check"]:
        return {"seconds": 0.0, "sentence": "the release has no check", "warnings": []}
    code, began = venv(spec["source"], service), time.monotonic()
    argv = _argv(spec, code, spec["check"])
    if spec["check_script"]:
        argv[:1] = [f"{code}/bin/python3", "-W", "ignore", "-c", spec["check_script"]]
    with __salt__["rehearsal_room.inside"]():
        user = __salt__["rehearsal.user"]()
        done = __salt__["openstack_db.execute"](argv, user, timeout=LIMIT)
    found = __salt__["openstack_upgrade.results"](done["stdout"])
    # one that did not come to its checks has the exit code of warnings, too
    if done["retcode"] not in (0, 1) or (done["retcode"] and not found):
        bad = [f"{one['check']}: {one['details']}" for one in found if one["result"] == "Failure"]
        told = " ".join(bad) or done["said"]
        raise CommandExecutionError(f"{spec['check'][0]}: {told}")
    warned = [f"{one['check']}: {one['details']}" for one in found if one["result"] != "Success"]
    return {
        "seconds": round(time.monotonic() - began, 1),
        "sentence": f"{len(found)} checks, {len(warned)} warnings",
        "warnings": warned,
    }


def contract(service):
    """
    Move the data that is left, and take away what the present release needs: as the end of an
    upgrade does.

    service
        Its name

    Returns ``{"seconds", "sentence"}``. Raises CommandExecutionError.

    CLI Example:

    .. code-block:: bash

        salt-run rehearse.run
    """
    spec = _spec(service)
    code, began = venv(spec["source"], service), time.monotonic()
    with __salt__["rehearsal_room.inside"]():
        _commands(spec, code, spec["contract"])
        pending = sorted({name for one in _statuses(spec, code) for name in one["pending"]})
    if pending:
        raise CommandExecutionError(f"The schema of {service} still lacks {', '.join(pending)}.")
    sentence = "the schema is that of the release" if spec["contract"] else "nothing to contract"
    return {"seconds": round(time.monotonic() - began, 1), "sentence": sentence}


def current(service):
    """
    Prove that the present release finds what it needs in the copies: of the databases that were
    put back.

    service
        Its name

    Returns ``{"seconds", "sentence"}``. Raises CommandExecutionError.

    CLI Example:

    .. code-block:: bash

        salt-run rehearse.run
    """
    spec = _spec(service)
    code, began = venv(spec["before"], service), time.monotonic()
    with __salt__["rehearsal_room.inside"]():
        found = _statuses(spec, code)
    lacking = _lacking(found)
    newer = [one["ahead"] for one in found if one["ahead"]]
    if lacking or newer:
        what = f"lacks {', '.join(lacking)}" if lacking else f"is that of {newer[0]}"
        raise CommandExecutionError(
            f"The schema of {service} {what}: its bundle is not one of release"
            f" {spec['before']['release']}. Take a new one with backup.take."
        )
    sentence = f"{spec['before']['release']} finds its schema"
    return {"seconds": round(time.monotonic() - began, 1), "sentence": sentence}


def spec(service):
    """
    Return what :py:func:`prepare` noted of a service, with all that is filled in.

    service
        Its name

    CLI Example:

    .. code-block:: bash

        salt cfg01.example.test rehearsal_service.spec nova
    """
    return _spec(service)


def argv(service, command):
    """
    Return a command of the next release with the configuration of the copies, as a list.

    service
        Its name
    command
        Program below ``bin`` and arguments, a list

    CLI Example:

    .. code-block:: bash

        salt cfg01.example.test rehearsal_service.argv keystone '[keystone-manage, doctor]'
    """
    found = _spec(service)
    return _argv(found, venv(found["source"], service), command)


def venv(source, service):
    """
    Return where the environment of a release is.

    source
        Its ``source`` in a pillar
    service
        Its name

    CLI Example:

    .. code-block:: bash

        salt cfg01.example.test rehearsal_service.venv '{release: "2026.1"}' nova
    """
    return f"{RELEASES}/{source['release']}/{service}"


def _where(service):
    top = f"{__salt__['rehearsal.settings']()['directory']}/services/{service}"
    return {"top": top, "etc": f"{top}/etc", "var": f"{top}/var"}


def _spec(service):
    path = f"{_where(service)['top']}/spec.json"
    try:
        with open(path, encoding="utf-8") as stream:
            return json.load(stream)
    except (OSError, ValueError):
        raise CommandExecutionError(
            f"{service} was not prepared on this host. Begin with rehearse.run."
        ) from None


def _password():
    """Of the one account that exists in the copies alone; one for a whole rehearsal."""
    path = f"{__salt__['rehearsal.settings']()['directory']}/services/.password"
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    except FileNotFoundError:
        found = secrets.token_urlsafe(24)
        _write(path, found, "root")
        return found


def _write(path, text, group):
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        if group != "root":
            shutil.chown(path, "root", group)
            os.fchmod(stream.fileno(), 0o640)
        stream.write(text)


def _filled(data, known):
    if isinstance(data, dict):
        return {key: _filled(value, known) for key, value in data.items()}
    if isinstance(data, list):
        return [_filled(value, known) for value in data]
    return data.format_map(known) if isinstance(data, str) else data


def _ini(sections):
    lines = []
    for section, options in sections.items():
        lines.append(f"[{section}]")
        for key, value in (options or {}).items():
            shown = str(value).lower() if isinstance(value, bool) else value
            lines.append(f"{key} = {shown}")
    return "\n".join([*lines, ""])


def _files(spec):
    return [f"{_where(spec['service'])['etc']}/{name}" for name in spec["read"]]


def _argv(spec, code, command):
    files = [option for file in _files(spec) for option in ("--config-file", file)]
    return [f"{code}/bin/{command[0]}", *files, *command[1:]]


def _commands(spec, code, commands):
    user = __salt__["rehearsal.user"]()
    for command in commands:
        __salt__["openstack_db.run"](_argv(spec, code, command), user, timeout=LIMIT)


def _statuses(spec, code):
    user = __salt__["rehearsal.user"]()
    return [
        __salt__["openstack_db.status"](
            _files(spec)[-1], one["migrations"], user, venv=code, section=one["section"]
        )
        for one in spec["schemas"]
    ]


def _lacking(found):
    """Revisions that are missing, but for what waits until nothing of the old release runs."""
    return sorted({name for one in found for name in set(one["pending"]) - set(one["contract"])})
