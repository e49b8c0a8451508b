"""
A hypervisor of Nova is emptied, and given back
===============================================

Everything is asked of the Compute API in Nova's own Python as its user, with the credentials of
``nova.conf``. No password is an argument, a return or a log line.
"""

import json
import time

from salt.exceptions import CommandExecutionError

__virtualname__ = "nova_host"

_CONFIG = "/etc/nova/nova.conf"
_BINARY = "nova-compute"
#: What stands in Nova beside a service that a drain disabled; only such a one is enabled again.
REASON = "drained by saltern"
#: Seconds between two looks at servers that move.
_LOOK = 5
#: How often a server that did not move is told to.
_TRIES = 2
#: Servers that have a running guest, by status: those that can move with it, and those that cannot.
_MOVABLE = ("ACTIVE", "PAUSED")
_STUCK = ("VERIFY_RESIZE", "RESIZE", "MIGRATING", "REBOOT", "HARD_REBOOT", "RESCUE", "PASSWORD",
          "BUILD", "REBUILD")  # fmt: skip

# Reads {"config", "requests": [[method, path, parameters, body], …]} from its standard input and
# answers with [[status, body], …]; runs in Nova's Python.
_SCRIPT = """
import json, logging, sys
logging.disable(logging.CRITICAL)
from keystoneauth1 import exceptions, loading
from oslo_config import cfg
want = json.load(sys.stdin)
conf = cfg.ConfigOpts()
loading.register_auth_conf_options(conf, 'service_user')
loading.register_session_conf_options(conf, 'service_user')
conf.register_opts([cfg.StrOpt('region_name')], group='service_user')
conf([], default_config_files=[want['config']], default_config_dirs=[])
auth = loading.load_auth_from_conf_options(conf, 'service_user')
session = loading.load_session_from_conf_options(conf, 'service_user', auth=auth)
compute = {'service_type': 'compute', 'interface': 'internal',
           'region_name': conf.service_user.region_name}
answers = []
try:
    for method, path, params, body in want['requests']:
        answer = session.request(path, method, params=params, json=body, raise_exc=False,
                                 endpoint_filter=compute, microversion='2.88')
        try:
            data = answer.json()
        except ValueError:
            data = None
        answers.append([answer.status_code, data])
except exceptions.ClientException as err:
    sys.exit(f'the Compute API does not answer: {type(err).__name__}')
print(json.dumps(answers))
"""


def __virtual__():
    return __virtualname__


def _venv():
    source = ((__pillar__.get("nova") or {}).get("common") or {}).get("source") or {}
    return "/usr" if source.get("engine") == "pkg" else "/opt/openstack/current/nova"


def _all(*requests):
    want = {"config": _CONFIG, "requests": [(*one, None, None)[:4] for one in requests]}
    argv = [f"{_venv()}/bin/python3", "-B", "-c", _SCRIPT]
    out = __salt__["openstack_db.run"](argv, "nova", stdin=json.dumps(want))
    return json.loads(out.splitlines()[-1])


def _ask(*request):
    status, body = _all(request)[0]
    if status >= 400:
        told = next(iter((body or {}).values()), {})
        words = told.get("message", "") if isinstance(told, dict) else ""
        raise CommandExecutionError(
            f"{request[0]} {request[1]}: {status} {' '.join(str(words).split())[:300]}".rstrip()
        )
    return body or {}


def _name(host):
    return host or (__pillar__.get("host") or {}).get("fqdn") or __grains__["id"]


def _services():
    """Computes by name."""
    found = _ask("GET", "/os-services", {"binary": _BINARY})["services"]
    return {one["host"]: one for one in found}


def _service(host):
    found = _services()
    if host not in found:
        raise CommandExecutionError(f"Nova knows no {_BINARY} on {host}.")
    others = [
        one["host"]
        for one in found.values()
        if one["host"] != host and one["state"] == "up" and one["status"] == "enabled"
    ]
    return found[host], sorted(others)


def _servers(host):
    found, marker = [], None
    while True:
        wanted = {"all_tenants": "1", "host": host, "limit": 500}
        part = _ask("GET", "/servers/detail", wanted | ({"marker": marker} if marker else {}))
        found += part["servers"]
        if len(part["servers"]) < 500:
            return found
        marker = found[-1]["id"]


def servers(host=None):
    """
    Return the servers of a hypervisor: ``[{"id", "name", "status", "task"}]``, by name.

    host
        As Nova names it; default: this one

    Raises CommandExecutionError when the Compute API does not answer.

    CLI Example:

    .. code-block:: bash

        salt cmp01.example.test nova_host.servers
    """
    found = [
        {
            "id": one["id"],
            "name": one["name"],
            "status": one["status"],
            "task": one.get("OS-EXT-STS:task_state"),
        }
        for one in _servers(_name(host))
    ]
    return sorted(found, key=lambda one: (one["name"], one["id"]))


def _told(found):
    names = [f"{one['name']} ({one['status']})" for one in found]
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def _disable(service):
    if service["status"] == "enabled":
        body = {"status": "disabled", "disabled_reason": REASON}
        _ask("PUT", f"/os-services/{service['id']}", None, body)


def drain(host=None, parallel=2, timeout=3600):
    """
    Take a hypervisor out of service: nothing new is placed there, and guests that run go elsewhere
    while they run.

    host
        As Nova names it; default: this one
    parallel
        Guests on their way at a time
    timeout
        Seconds until the last one must have gone

    Servers without a running guest (stopped, suspended, shelved) stay. Where Nova places a server
    is up to its scheduler. Returns a sentence. Raises CommandExecutionError, before anything is
    touched, when no other hypervisor is up or a server cannot move as it is; and when servers
    stay, with their names: the hypervisor is still disabled then, until its release.

    CLI Example:

    .. code-block:: bash

        salt cmp01.example.test nova_host.drain
    """
    name = _name(host)
    service, others = _service(name)
    here = servers(name)
    moving = [one for one in here if one["status"] in _MOVABLE]
    stuck = [one for one in here if one["status"] in _STUCK]
    if stuck:
        raise CommandExecutionError(
            f"{name} cannot be emptied now: {_told(stuck)}. Finish or confirm what they do."
        )
    if moving and not others:
        raise CommandExecutionError(
            f"{name} has {len(moving)} running servers, and no other compute is up and enabled."
        )
    _disable(service)
    gone = len(moving)
    end = time.monotonic() + timeout
    tries, refused = {}, {}
    while moving:
        if time.monotonic() > end:
            raise CommandExecutionError(f"Still on {name} after {timeout} s: {_told(moving)}.")
        resting = [one for one in moving if one["status"] in _MOVABLE and not one["task"]]
        waiting = [one for one in resting if tries.get(one["id"], 0) < _TRIES]
        if len(resting) == len(moving) and not waiting:
            why = sorted({refused.get(one["id"]) or _why(one["id"]) for one in moving} - {""})
            raise CommandExecutionError(f"{_told(moving)} does not leave {name}: {'; '.join(why)}")
        for one in waiting[: max(0, parallel - len(moving) + len(resting))]:
            tries[one["id"]] = tries.get(one["id"], 0) + 1
            refused[one["id"]] = _send(one["id"])
        time.sleep(_LOOK)
        moving = [one for one in servers(name) if one["status"] in (*_MOVABLE, "MIGRATING")]
    return f"{name} is disabled; {gone} running servers went elsewhere."


def _send(server):
    """Have a server move; return why Nova would not, empty when it does."""
    body = {"os-migrateLive": {"host": None, "block_migration": "auto"}}
    try:
        _ask("POST", f"/servers/{server}/action", None, body)
    except CommandExecutionError as err:
        return str(err)
    return ""


def _why(server):
    """What Nova says of the last thing that it did to a server."""
    try:
        actions = _ask("GET", f"/servers/{server}/os-instance-actions", {"limit": 1})
        last = next(iter(actions["instanceActions"]), {})
    except CommandExecutionError:
        return ""
    return " ".join(str(last.get("message") or "").split())[:300]


def release(host=None):
    """
    Give a hypervisor back that :py:func:`nova_host.drain <drain>` disabled; one that somebody else
    disabled stays so. Servers that went elsewhere stay there.

    host
        As Nova names it; default: this one

    Returns a sentence. Raises CommandExecutionError when the Compute API does not answer.

    CLI Example:

    .. code-block:: bash

        salt cmp01.example.test nova_host.release
    """
    name = _name(host)
    service, _ = _service(name)
    if service["status"] == "enabled":
        return f"{name} is enabled."
    if service.get("disabled_reason") != REASON:
        return f"{name} stays disabled: {service.get('disabled_reason') or 'no reason is given'}."
    _ask("PUT", f"/os-services/{service['id']}", None, {"status": "enabled"})
    return f"{name} is enabled again."
