"""The CRUSH map of a Ceph cluster: where copies go, with test mode and read-back.

Nothing here moves data: a rule is made or found as it is, and a host that is somewhere else than
the model says is told, not moved.
"""

from __future__ import annotations

from salt.exceptions import CommandExecutionError


def rule(name, domain, root="default", device_class=None):
    """Keep a rule for replicated pools; one with this name that says something else is refused.

    name
        name of the rule
    domain
        type of bucket in which there is never more than one copy: ``host``, ``rack`` …
    root
        bucket below which copies lie
    device_class
        use devices of this class only
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": f"Rule {name}: as wanted."}
    wanted = {"root": root, "class": device_class, "domain": domain}
    try:
        now = _rule(name)
        if now == wanted:
            return ret
        if now is not None:
            told = ", ".join(f"{k} {now[k]} in place of {wanted[k]}" for k in wanted
                             if now[k] != wanted[k])  # fmt: skip
            ret["result"] = False
            ret["comment"] = (
                f"Rule {name}: has {told}. Pools that use it would move all their data: give the"
                " new rule another name, and pools to it."
            )
            return ret
        ret["changes"] = {name: wanted}
        if __opts__["test"]:
            ret.update(result=None, comment=f"Rule {name}: would be created.")
            return ret
        more = {"class": device_class} if device_class else {}
        arguments = {"name": name, "root": root, "type": domain, **more}
        __salt__["ceph_cluster.command"]("osd crush rule create-replicated", arguments=arguments)
        after = _rule(name)
    except CommandExecutionError as err:
        return __salt__["readback.unknown"](ret, f"Rule {name}", err, __opts__["test"])
    if after != wanted:
        ret.update(result=False, comment=f"Rule {name}: written, but reads back as {after}.")
        return ret
    ret["comment"] = f"Rule {name}: created."
    return ret


def located(name, location):
    """Check that a host is where the model says; it is not moved, as that would move its data.

    name
        bucket of the host
    location
        ``{root: …, rack: …}``; what is left out may be anything
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": f"Host {name}: as wanted."}
    if __opts__["test"]:
        ret["comment"] = f"Host {name}: looked at in a real run."
        return ret
    try:
        tree = __salt__["ceph_cluster.osd_tree"]()
    except CommandExecutionError as err:
        ret.update(result=False, comment=f"Host {name}: {err}")
        return ret
    here = [osd["location"] for osd in tree.values() if osd["location"].get("host") == name]
    wrong = {
        f"{kind} {place.get(kind, 'none')}, not {wanted}"
        for place in here
        for kind, wanted in location.items()
        if place.get(kind) != wanted
    }
    if wrong:
        words = " ".join(f"{kind}={value}" for kind, value in sorted(location.items()))
        ret["result"] = False
        ret["comment"] = (
            f"Host {name}: is in {'; '.join(sorted(wrong))}. Correct the model, or have the data"
            f" moved: ceph osd crush move {name} {words}."
        )
    return ret


def _rule(name):
    """``{root, class, domain}`` of a rule, None when there is none."""
    rules = __salt__["ceph_cluster.command"]("osd crush rule dump")
    found = next((item for item in rules if item["rule_name"] == name), None)
    if found is None:
        return None
    steps = {step["op"].partition("_")[0]: step for step in found["steps"]}
    taken = steps.get("take", {}).get("item_name", "")
    root, _, kind = taken.partition("~")
    leaf = steps.get("chooseleaf") or steps.get("choose") or {}
    return {"root": root, "class": kind or None, "domain": leaf.get("type")}
