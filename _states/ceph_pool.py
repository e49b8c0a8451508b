"""Pools of a Ceph cluster and file systems on them, with test mode and read-back.

What the cluster tunes by itself is left to it: the number of placement groups is written only where
the autoscaler is off.
"""

from __future__ import annotations

from salt.exceptions import CommandExecutionError

#: Argument of :func:`present` -> variable of ``osd pool set``, for plain values.
VARIABLES = {
    "rule": "crush_rule",
    "size": "size",
    "min_size": "min_size",
    "autoscale": "pg_autoscale_mode",
    "pg_num": "pg_num",
    "bulk": "bulk",
    "compression": "compression_mode",
}
QUOTAS = {"quota_bytes": "max_bytes", "quota_objects": "max_objects"}


def present(
    name,
    application=None,
    rule=None,
    size=None,
    min_size=None,
    autoscale=None,
    pg_num=None,
    bulk=None,
    quota_bytes=None,
    quota_objects=None,
    compression=None,
):
    """Keep a replicated pool; what is left out stays as it is.

    name
        name of the pool
    application
        who uses it: ``rbd``, ``rgw``, ``cephfs``, ``mgr``
    rule
        name of a CRUSH rule
    size
        copies
    min_size
        copies that must be there for a write
    autoscale
        ``on``, ``off`` or ``warn``
    pg_num
        placement groups, where the autoscaler is off
    bulk
        it will be large: gets all its placement groups from the start
    quota_bytes
        bytes it may hold, 0 for no limit
    quota_objects
        objects it may hold, 0 for no limit
    compression
        ``none``, ``passive``, ``aggressive`` or ``force``
    """
    wanted = {
        "application": application,
        "rule": rule,
        "size": size,
        "min_size": min_size,
        "autoscale": autoscale,
        "pg_num": pg_num,
        "bulk": bulk,
        "quota_bytes": quota_bytes,
        "quota_objects": quota_objects,
        "compression": compression,
    }
    wanted = {key: value for key, value in wanted.items() if value is not None}

    def look():
        found = _pool(name)
        return None if found is None else {key: found[key] for key in wanted}

    def act(now):
        if now is None:
            # created as it will be: placement groups that move twice cost twice
            more = {"rule": rule, "size": size, "pg_num": pg_num, "autoscale_mode": autoscale}
            _command(
                "osd pool create",
                pool=name,
                pool_type="replicated",
                **{key: value for key, value in more.items() if value is not None},
            )
            now = look()
            if now is None:
                raise CommandExecutionError("created, but not there when read back.")
        for key, value in wanted.items():
            if now[key] == value:
                continue
            if key == "application":
                _command("osd pool application enable", pool=name, app=value)
            elif key in QUOTAS:
                _command("osd pool set-quota", pool=name, field=QUOTAS[key], val=str(value))
            else:
                value = str(value).lower() if isinstance(value, bool) else str(value)
                more = {"yes_i_really_mean_it": True} if (key, value) == ("size", "1") else {}
                _command("osd pool set", pool=name, var=VARIABLES[key], val=value, **more)

    return _converge(name, f"Pool {name}", wanted, look, act)


def absent(name):
    """Keep a pool away; its data is lost. The cluster must allow it (``mon_allow_pool_delete``).

    name
        name of the pool
    """

    def act():
        sure = {"pool2": name, "yes_i_really_really_mean_it": True}
        _command("osd pool delete", pool=name, **sure)

    label, test = f"Pool {name}", __opts__["test"]
    return __salt__["readback.absent"](name, label, lambda: _pool(name), act, test)


def filesystem(name, metadata, data):
    """Keep a CephFS file system on two pools; an existing one is never moved to others.

    name
        name of the file system
    metadata
        pool of its metadata
    data
        first pool of its data
    """
    wanted = {"metadata": metadata, "data": [data]}

    def look():
        for item in _command("fs ls"):
            if item["name"] == name:
                return {"metadata": item["metadata_pool"], "data": item["data_pools"][:1]}
        return None

    def act(now):
        if now is not None:
            raise CommandExecutionError(
                f"it lies on the pools {now['metadata']} and {now['data'][0]}, and cannot be moved."
                " Correct the model, or make another file system."
            )
        _command("fs new", fs_name=name, metadata=metadata, data=data)

    return _converge(name, f"File system {name}", wanted, look, act)


def _pool(name):
    """What a pool is, in the words of :func:`present`; None when there is none."""
    dump = _command("osd dump")
    found = next((pool for pool in dump["pools"] if pool["pool_name"] == name), None)
    if found is None:
        return None
    rules = {rule["rule_id"]: rule["rule_name"] for rule in _command("osd crush rule dump")}
    applications = sorted(found["application_metadata"])
    return {
        "application": applications[0] if applications else None,
        "rule": rules.get(found["crush_rule"]),
        "size": found["size"],
        "min_size": found["min_size"],
        "autoscale": found["pg_autoscale_mode"],
        "pg_num": found.get("pg_num_target", found["pg_num"]),
        "bulk": "bulk" in found["flags_names"].split(","),
        "quota_bytes": found["quota_max_bytes"],
        "quota_objects": found["quota_max_objects"],
        "compression": found["options"].get("compression_mode", "none"),
    }


def _command(prefix, **arguments):
    return __salt__["ceph_cluster.command"](prefix, arguments=arguments)


def _converge(name, label, wanted, look, act):
    test = __opts__["test"]
    return __salt__["readback.present"](name, label, wanted, look, act, test)
