"""
A hypervisor of Nova is emptied, and given back
===============================================

What becomes of a server that runs there is up to its metadata ``saltern_drain``:

``live``
    it goes elsewhere while it runs; so does one without this metadata
``cold``
    it is stopped, moved and started; one that is stopped is moved
``stop``
    it is stopped, and started again by the release
``leave``
    it stays as it is, and sees what becomes of its host

Servers that do not run stay where they are. Everything is asked of the Compute API (``nova_api``).
"""

import time

from salt.exceptions import CommandExecutionError

__virtualname__ = "nova_host"

_BINARY = "nova-compute"
#: What stands in Nova beside a service that a drain disabled; only such a one is enabled again.
REASON = "drained by saltern"
#: Metadata of a server: what becomes of it, and the host on which a drain stopped it.
POLICY, STOPPED = "saltern_drain", "saltern_stopped"
POLICIES = ("live", "cold", "stop", "leave")
#: Seconds between two looks at servers that move.
_LOOK = 5
#: How often a server that did not do it is told to.
_TRIES = 2
#: Servers with a running guest, by status: those that can be told to go, and those that cannot.
_RUNNING = ("ACTIVE", "PAUSED")
_BUSY = ("VERIFY_RESIZE", "RESIZE", "MIGRATING", "REBOOT", "HARD_REBOOT", "RESCUE", "PASSWORD",
         "BUILD", "REBUILD")  # fmt: skip
_ACTIONS = {
    "live": {"os-migrateLive": {"host": None, "block_migration": "auto"}},
    "cold": {"migrate": None},
    "stop": {"os-stop": None},
}


def __virtual__():
    return __virtualname__


def _ask(*request):
    return __salt__["nova_api.ask"]([list(request)])[0]


def _name(host):
    return host or (__pillar__.get("host") or {}).get("fqdn") or __grains__["id"]


def _service(host):
    """The compute service of a host, and the names of other ones that take servers."""
    known = _ask("GET", "/os-services", {"binary": _BINARY})["services"]
    found = {one["host"]: one for one in known}
    if host not in found:
        raise CommandExecutionError(f"Nova knows no {_BINARY} on {host}.")
    usable = {one["host"] for one in known if (one["state"], one["status"]) == ("up", "enabled")}
    return found[host], sorted(usable - {host})


def _set(service, **status):
    _ask("PUT", f"/os-services/{service['id']}", None, status)


def servers(host=None):
    """
    Return the servers of a hypervisor by name, each with ``id``, ``name``, ``status``, ``task``
    (what Nova does with it), ``policy`` and ``stopped`` (the host on which a drain stopped it).

    host
        As Nova names it; default: this one

    Raises CommandExecutionError when the Compute API does not answer.

    CLI Example:

    .. code-block:: bash

        salt cmp01.example.test nova_host.servers
    """
    wanted = {"all_tenants": "1", "host": _name(host)}
    known = __salt__["nova_api.pages"]("/servers/detail", "servers", wanted)
    found = [
        {
            "id": one["id"],
            "name": one["name"],
            "status": one["status"],
            "task": one.get("OS-EXT-STS:task_state"),
            "policy": one["metadata"].get(POLICY, "live"),
            "stopped": one["metadata"].get(STOPPED),
        }
        for one in known
    ]
    return sorted(found, key=lambda one: (one["name"], one["id"]))


def _told(found):
    names = [f"{one['name']} ({one['status']})" for one in found]
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def _plan(host):
    """What becomes of whom: ``{id: (policy, server)}``. Refuses what cannot be done as it is."""
    here = servers(host)
    odd = [one for one in here if one["policy"] not in POLICIES]
    if odd:
        raise CommandExecutionError(
            f"The metadata {POLICY} of {odd[0]['name']} is {odd[0]['policy']!r}:"
            f" set {', '.join(POLICIES[:-1])} or {POLICIES[-1]}."
        )
    mine = [one for one in here if one["policy"] != "leave"]
    busy = [one for one in mine if one["status"] in _BUSY or one["task"]]
    if busy:
        raise CommandExecutionError(
            f"{host} cannot be emptied now: {_told(busy)}. Wait for what they do, or confirm it."
        )
    return {
        one["id"]: (one["policy"], one)
        for one in mine
        if one["status"] in _RUNNING or (one["policy"], one["status"]) == ("cold", "SHUTOFF")
    }


def fits(host=None):
    """
    Check that a hypervisor can be emptied as things are, and touch nothing.

    host
        As Nova names it; default: this one

    Returns ``{"ok": bool, "sentence": str}``.

    CLI Example:

    .. code-block:: bash

        salt cmp01.example.test nova_host.fits
    """
    try:
        todo = _checked(_name(host))[1]
    except CommandExecutionError as err:
        return {"ok": False, "sentence": str(err)}
    return {"ok": True, "sentence": f"{len(todo)} servers would go or be stopped."}


def _checked(name):
    service, others = _service(name)
    todo = _plan(name)
    going = [key for key, (policy, _) in todo.items() if policy != "stop"]
    if going and not others:
        raise CommandExecutionError(
            f"{name} has {len(going)} servers that must go, and no other compute is up and enabled."
        )
    homeless = __salt__["nova_load.homeless"](name, going) if going else []
    if homeless:
        names = ", ".join(homeless[:5]) + (" …" if len(homeless) > 5 else "")
        raise CommandExecutionError(
            f"{len(homeless)} of {len(going)} servers of {name} fit on no other compute: {names}."
            " Free or add some, or let them be stopped."
        )
    return service, todo


def drain(host=None, parallel=2, timeout=3600):
    """
    Take a hypervisor out of service: nothing new is placed there, and what runs there goes
    elsewhere or is stopped, as its metadata says.

    host
        As Nova names it; default: this one
    parallel
        Servers on their way at a time
    timeout
        Seconds until the last one must have gone

    Returns a sentence. Raises CommandExecutionError before anything is touched when a server is
    busy, or the other hypervisors cannot take them all; and when servers stay, with their names
    and Nova's reason: the hypervisor is disabled then, until its release.

    CLI Example:

    .. code-block:: bash

        salt cmp01.example.test nova_host.drain
    """
    name = _name(host)
    service, todo = _checked(name)
    if service["status"] == "enabled":
        _set(service, status="disabled", disabled_reason=REASON)
    kinds = [policy for policy, _ in todo.values()]
    end = time.monotonic() + timeout
    tries, refused = dict.fromkeys(todo, 0), {}
    while todo:
        left = {one["id"]: one for one in servers(name)}
        for key, (policy, _) in list(todo.items()):
            if _over(policy, key, left.get(key)):
                del todo[key]
        resting = [key for key in todo if key in left and not left[key]["task"]
                   and left[key]["status"] not in _BUSY]  # fmt: skip
        waiting = [key for key in resting if tries[key] < _TRIES]
        if todo and len(resting) == len(todo) and not waiting:
            why = sorted({refused.get(key) or _why(key) for key in todo} - {""})
            told = _told([left[key] for key in resting])
            raise CommandExecutionError(f"{told} does not leave {name}: {'; '.join(why)}")
        if todo and time.monotonic() > end:
            told = _told([left.get(key, one) for key, (_, one) in todo.items()])
            raise CommandExecutionError(f"Not done on {name} after {timeout} s: {told}.")
        for key in waiting[: max(0, parallel - len(todo) + len(resting))]:
            tries[key] += 1
            refused[key] = _send(key, todo[key][0], name)
        if todo:
            time.sleep(_LOOK)
    stopped = kinds.count("stop")
    return f"{name} is disabled: {len(kinds) - stopped} servers went elsewhere, {stopped} stopped."


def _over(policy, key, here):
    """Whether a server has become what it should; one that was moved cold is confirmed."""
    if policy == "stop":
        return here is None or here["status"] == "SHUTOFF"
    if here is not None:
        return False
    if policy == "live":
        return True
    try:
        status = _ask("GET", f"/servers/{key}")["server"]["status"]
    except CommandExecutionError as err:
        if ": 404 " in str(err):
            return True  # somebody deleted it
        raise
    if status == "VERIFY_RESIZE":
        _ask("POST", f"/servers/{key}/action", None, {"confirmResize": None})
    return status in ("ACTIVE", "SHUTOFF")


def _send(key, policy, host):
    """Tell a server what becomes of it; return why Nova would not, empty when it does."""
    try:
        if policy == "stop":
            # first the note: what stops without one would stay so
            _ask("POST", f"/servers/{key}/metadata", None, {"metadata": {STOPPED: host}})
        _ask("POST", f"/servers/{key}/action", None, _ACTIONS[policy])
    except CommandExecutionError as err:
        return str(err)
    return ""


def _why(key):
    """What Nova says of the last thing that it did to a server."""
    try:
        place = f"/servers/{key}/os-instance-actions"
        found = _ask("GET", place, {"limit": 1})
        last = next(iter(found["instanceActions"]), {})
        events = []
        if last.get("message"):
            # it says no more than that there was an error; the event that failed says which
            events = _ask("GET", f"{place}/{last['request_id']}")["instanceAction"]["events"]
    except CommandExecutionError:
        return ""
    told = [
        str(one["details"]) for one in events if one["result"] == "Error" and one.get("details")
    ]
    return " ".join((told or [str(last.get("message") or "")])[0].split())[:300]


def release(host=None):
    """
    Give a hypervisor back that :py:func:`nova_host.drain <drain>` disabled, and start the servers
    that it stopped. One that somebody else disabled stays so. Servers that went elsewhere stay.

    host
        As Nova names it; default: this one

    Returns a sentence. Raises CommandExecutionError when the Compute API does not answer.

    CLI Example:

    .. code-block:: bash

        salt cmp01.example.test nova_host.release
    """
    name = _name(host)
    service, _ = _service(name)
    reason = service.get("disabled_reason")
    if service["status"] == "enabled":
        told = f"{name} is enabled"
    elif reason == REASON:
        _set(service, status="enabled")
        told = f"{name} is enabled again"
    else:
        told = f"{name} stays disabled ({reason or 'no reason is given'})"
    started = [one for one in servers(name) if one["stopped"] == name]
    for one in started:
        if one["status"] == "SHUTOFF":
            _ask("POST", f"/servers/{one['id']}/action", None, {"os-start": None})
        _ask("DELETE", f"/servers/{one['id']}/metadata/{STOPPED}")
    return f"{told}; {len(started)} servers start." if started else f"{told}."
