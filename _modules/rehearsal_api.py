"""
An API of the next release, on copies of its databases
======================================================

Each runs in uWSGI on the loopback of the rehearsal's network namespace, as the rehearsal's user,
and is asked what a client would ask, with a token of the Keystone that is rehearsed. See
:py:mod:`rehearsal`.
"""

import http.client
import json
import os
import re
import subprocess
import time

from salt.exceptions import CommandExecutionError

__virtualname__ = "rehearsal_api"

#: Seconds until an API answers for the first time, and for one request.
START, REQUEST = 180, 60
#: The account that exists in the copies alone.
ACCOUNT = "rehearsal"
_IDENTITY = "keystone"


# What Python says of an exception.
_TELLING = re.compile(r"\w(Error|Exception|NotFound|Refused)\b.*: .")
#: The application as the server finds it. At the root uWSGI tells it no SCRIPT_NAME, and paste
#: wants one.
_APPLICATION = """
import importlib
import sys

sys.argv[1:] = {arguments!r}
module, _, name = {wsgi!r}.partition(":")
inner = getattr(importlib.import_module(module), name.removesuffix("()") or "application")
inner = inner() if name.endswith("()") else inner


def application(environ, start_response):
    environ.setdefault("SCRIPT_NAME", "")
    return inner(environ, start_response)
"""


def __virtual__():
    return __virtualname__


def smoke(service):
    """
    Start the API of a service and ask it; it reads its database for the answers.

    service
        Its name. Keystone stays up for the others, and so does what they need; the end of the
        rehearsal ends them

    Returns ``{"seconds", "sentence"}``. Raises CommandExecutionError with what is not as it should
    be.

    CLI Example:

    .. code-block:: bash

        salt-run rehearse.run
    """
    spec = __salt__["rehearsal_service.spec"](service)
    api = spec["api"]
    if not api:
        return {"seconds": 0.0, "sentence": "the service has no API that could be asked"}
    began = time.monotonic()
    user = __salt__["rehearsal.user"]()
    with __salt__["rehearsal_room.inside"]():
        for statement in api.get("sql", []):
            __salt__["rehearsal.query"](statement)
        for command in api.get("commands", []):
            argv = __salt__["rehearsal_service.argv"](service, command)
            env = {**api.get("command_environ", {})}
            __salt__["openstack_db.run"](argv, user, env=env)
        _start(spec)
        try:
            _wait(service, api)
            told = [_asked(api, one) for one in api.get("requests", [])]
            token, project = _token()
            told += [_asked(api, one, token, project) for one in api.get("authorized", [])]
        except BaseException:
            stop(service)
            raise
    if not api.get("keep"):
        stop(service)
    return {"seconds": round(time.monotonic() - began, 1), "sentence": ", ".join(told)}


def stop(service="*"):
    """
    Stop the API of a service; without a name, all of them.

    service
        Its name

    CLI Example:

    .. code-block:: bash

        salt cfg01.example.test rehearsal_api.stop nova
    """
    subprocess.run(["systemctl", "stop", f"{_unit(service)}.service"], capture_output=True,
                   check=False, timeout=300)  # fmt: skip
    return True


def _unit(service):
    return f"saltern-rehearsal-api-{service}"


def _start(spec):
    service, api = spec["service"], spec["api"]
    directory = f"{__salt__['rehearsal.settings']()['directory']}/services/{service}"
    venv = __salt__["rehearsal_service.venv"](spec["source"], service)
    options = {
        "http-socket": f"127.0.0.1:{api['port']}",
        # else clients see a reset where a body was not read
        "add-header": "Connection: close",
        "wsgi-file": f"{directory}/etc/application.py",
        "virtualenv": venv,
        "processes": "1",
        "threads": "4",
        "master": "true",
        "enable-threads": "true",
        "lazy-apps": "true",
        "need-app": "true",
        "die-on-term": "true",
        "buffer-size": "65535",
        "start-time": "%t",
    }
    known = {"wsgi": spec["source"]["wsgi"], "arguments": api.get("arguments", [])}
    path = f"{directory}/etc/uwsgi.ini"
    for name, text in (
        (path, "\n".join(["[uwsgi]", *(f"{key} = {value}" for key, value in options.items()), ""])),
        (options["wsgi-file"], _APPLICATION.format(**known)),
    ):
        with open(name, "w", encoding="utf-8") as stream:
            stream.write(text)
        os.chmod(name, 0o644)
    user = __salt__["rehearsal.user"]()
    stop(service)
    properties = {
        "User": user,
        "Group": user,
        # a loopback, and no way out
        "NetworkNamespacePath": "/run/netns/saltern-rehearsal",
        "ProtectSystem": "strict",
        "ReadWritePaths": f"{directory}/var",
        "PrivateTmp": "yes",
        "NoNewPrivileges": "yes",
        "Nice": "10",
        "RuntimeMaxSec": "6h",
        "TimeoutStopSec": "20",
    }
    command = [
        "systemd-run", "--quiet", "--collect", f"--unit={_unit(service)}",
        *(f"--property={key}={value}" for key, value in properties.items()),
        *(f"--setenv={key}={value}" for key, value in api.get("environ", {}).items()),
        "--setenv=HOME=/", "--", f"{venv}/bin/uwsgi", "--ini", path,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no word why"]
        raise CommandExecutionError(f"The API of {service} cannot be started: {lines[-1][:300]}")


def _wait(service, api):
    end, last = time.monotonic() + START, "it does not listen"
    while time.monotonic() < end:
        if not _active(service):
            raise CommandExecutionError(f"The API of {service} ended: {_log(service)}")
        try:
            status, _, _ = _request(api["port"], "GET", api.get("alive", "/"), limit=10)
        except CommandExecutionError as err:
            last = str(err)
        else:
            if status < 500:
                return
            last = f"it answers {status}"
        time.sleep(0.5)
    raise CommandExecutionError(
        f"The API of {service} was not there after {START} s ({last}): {_log(service)}"
    )


def _active(service):
    command = ["systemctl", "--quiet", "is-active", f"{_unit(service)}.service"]
    return subprocess.run(command, check=False).returncode == 0


def _log(service):
    done = subprocess.run(
        ["journalctl", "--no-pager", "--output=cat", "-n", "40", "-u", _unit(service)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    telling = [line for line in lines if _TELLING.search(line)]
    return (telling or lines or ["its log is empty"])[-1][-300:]


def _token():
    path = f"{__salt__['rehearsal.settings']()['directory']}/services/.password"
    with open(path, encoding="utf-8") as stream:
        password = stream.read()
    domain = {"id": "default"}
    body = {
        "auth": {
            "identity": {
                "methods": ["password"],
                "password": {"user": {"name": ACCOUNT, "domain": domain, "password": password}},
            },
            "scope": {"project": {"name": ACCOUNT, "domain": domain}},
        }
    }
    port = __salt__["rehearsal_service.spec"](_IDENTITY)["api"]["port"]
    status, headers, data = _request(port, "POST", "/v3/auth/tokens", body=body)
    token = headers.get("X-Subject-Token")
    if status != 201 or not token:
        raise CommandExecutionError(f"The rehearsed Keystone gives no token: it answers {status}.")
    return token, data["token"]["project"]["id"]


def _asked(api, one, token="", project=""):
    path = one["path"].replace("<project>", project)
    headers = dict(one.get("headers") or {})
    if token:
        headers["X-Auth-Token"] = token
    status, _, data = _request(api["port"], "GET", path, headers=headers)
    wanted = one.get("status", 200)
    if status != wanted:
        said = json.dumps(data)[:200] if data else "nothing"
        raise CommandExecutionError(
            f"GET {path} answers {status} in place of {wanted}, and says {said}."
        )
    key = one.get("key")
    if not key:
        return f"GET {one['path']}: {status}"
    if not isinstance(data, dict) or key not in data:
        raise CommandExecutionError(f"GET {path} answers without {key}.")
    found = data[key]
    return f"GET {one['path']}: {len(found) if isinstance(found, list) else status}"


def _request(port, method, path, headers=None, body=None, limit=REQUEST):
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=limit)
    try:
        sent = json.dumps(body) if body is not None else None
        headers = {"Accept": "application/json", **(headers or {})}
        if sent:
            headers["Content-Type"] = "application/json"
        connection.request(method, path, sent, headers)
        answer = connection.getresponse()
        text = answer.read()
    except (OSError, http.client.HTTPException) as err:
        raise CommandExecutionError(f"{method} {path}: {type(err).__name__}") from None
    finally:
        connection.close()
    try:
        data = json.loads(text) if text else None
    except ValueError:
        data = None
    return answer.status, answer.headers, data
