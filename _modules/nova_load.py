"""
Whether the other hypervisors can take what one of them has
===========================================================

Before anything is touched: by what Placement says is free, and by the groups whose servers may not
be together. Which of them takes a server is up to Nova's scheduler, which knows more (traits,
filters, NUMA); what does not fit here does not fit there.
"""

__virtualname__ = "nova_load"

#: What of a flavor Placement counts, by resource class.
_SIZES = {"VCPU": ("vcpus",), "MEMORY_MB": ("ram",)}
#: Groups at a time.
_PAGE = 500


def __virtual__():
    return __virtualname__


def _free():
    """Host -> resource class -> what is free, of computes that are up and enabled."""
    ask = __salt__["nova_api.ask"]
    known = __salt__["nova_api.pages"]("/os-hypervisors/detail", "hypervisors")
    usable = [one for one in known if one["state"] == "up" and one["status"] == "enabled"]
    asked = []
    for one in usable:
        where = f"/resource_providers/{one['id']}"
        asked += [["GET", f"{where}/inventories"], ["GET", f"{where}/usages"]]
    answers = ask(asked, "placement") if asked else []
    found = {}
    for one, inventory, usage in zip(usable, answers[::2], answers[1::2], strict=True):
        used = usage["usages"]
        found[one["service"]["host"]] = {
            kind: int((has["total"] - has["reserved"]) * has["allocation_ratio"])
            - used.get(kind, 0)
            for kind, has in inventory["inventories"].items()
        }
    return found


def _groups():
    """Members of each group whose servers must be on different hosts."""
    ask, found, offset, part = __salt__["nova_api.ask"], [], 0, None
    while part is None or len(part) == _PAGE:
        wanted = {"all_projects": "True", "limit": _PAGE, "offset": offset}
        part = ask([["GET", "/os-server-groups", wanted]])[0]["server_groups"]
        found += [set(one["members"]) for one in part if one["policy"] == "anti-affinity"]
        offset += len(part)
    return found


def _wants(server):
    flavor = server["flavor"]
    return {kind: sum(flavor.get(name) or 0 for name in names) for kind, names in _SIZES.items()}


def _place(moving, free, apart, places):
    """Give each server a place, the largest first; return those that have none.

    :param apart: server -> servers that it may not be with
    :param places: server -> its host, changed here
    """
    left = []
    for one in sorted(moving, key=lambda one: (-_wants(one)["MEMORY_MB"], one["id"])):
        taken = {places[other] for other in apart.get(one["id"], ()) if other in places}
        wants = _wants(one)
        fitting = [
            host
            for host, has in free.items()
            if host not in taken and all(has.get(kind, 0) >= size for kind, size in wants.items())
        ]
        if not fitting:
            left.append(one)
            continue
        # the fullest that takes it, so that large ones find room later
        host = min(fitting, key=lambda name: (free[name].get("MEMORY_MB", 0), name))
        for kind, size in wants.items():
            free[host][kind] -= size
        places[one["id"]] = host
    return left


def homeless(host, servers):
    """
    Return the names of servers that no other hypervisor takes.

    host
        Where they are, as Nova names it
    servers
        Their ids

    Raises CommandExecutionError when Nova or Placement does not answer.

    CLI Example:

    .. code-block:: bash

        salt cmp01.example.test nova_load.homeless cmp01.example.test '[]'
    """
    everything = __salt__["nova_api.pages"]("/servers/detail", "servers", {"all_tenants": "1"})
    moving = [one for one in everything if one["id"] in set(servers)]
    places = {
        one["id"]: one["OS-EXT-SRV-ATTR:host"]
        for one in everything
        if one["id"] not in set(servers) and one.get("OS-EXT-SRV-ATTR:host")
    }
    apart = {}
    for members in _groups():
        for member in members:
            apart.setdefault(member, set()).update(members - {member})
    free = {name: has for name, has in _free().items() if name != host}
    left = _place(moving, free, apart, places)
    return sorted(one["name"] for one in left)
