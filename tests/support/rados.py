"""As much of librados and of a Ceph cluster as the modules use, in memory.

Stands where the C library would be: everything above it is the real code. Answers have the shape of
Ceph 16's, written down from a running cluster.
"""

from __future__ import annotations

import configparser
import contextlib
import json
from typing import Any


class Error(Exception):
    """As ``rados.Error``."""


class ObjectNotFound(Error):
    """As ``rados.ObjectNotFound``: no such key or user."""


class TimedOut(Error):
    """As ``rados.TimedOut``: no quorum."""


LONG_AGO = "2026-01-02T03:04:05.000000+0000"
EBUSY, ENOENT, EINVAL, EACCES = -16, -2, -22, -13


class Cluster:
    """What there is; ``up`` says whether a quorum answers, ``deaf`` that writes are lost."""

    fsid = "5d9c4f1e-6b1a-4a55-9a44-0f2a7be0c3d1"

    def __init__(self) -> None:
        self.up = True
        self.deaf = False
        self.said: list[dict[str, Any]] = []
        self.bodies: list[str] = []
        self.pools: dict[str, dict[str, Any]] = {}
        self.objects: dict[str, bytes] = {}
        self.rules: dict[str, dict[str, Any]] = {"replicated_rule": rule("default", "host")}
        self.users: dict[str, dict[str, Any]] = {}
        self.options: dict[tuple[str, str], str] = {}
        self.notes: dict[str, str] = {}
        self.filesystems: dict[str, dict[str, str]] = {}
        self.modules = {"on": ["iostat", "restful"], "off": ["prometheus"], "always": ["balancer"]}
        self.checks: dict[str, str] = {}
        self.muted: set[str] = set()
        self.flags: set[str] = set()
        self.release = "pacific"
        self.node_flags: dict[str, list[str]] = {}
        self.monitors = ["mon01", "mon02", "mon03"]
        self.quorum = ["mon01", "mon02", "mon03"]
        self.managers = ["mon01", "mon02"]
        self.osds = {number: {"up": 1, "in": 1, "host": f"osd0{number // 2 + 1}"}
                     for number in range(6)}  # fmt: skip
        self.states = {"active+clean": 33}
        self.blocked_by: list[list[int]] = []
        #: the map of now, and when maps were made
        self.epoch = 9
        self.modified: dict[int, str] = {}
        self.stoppable: set[str] = {str(number) for number in self.osds}
        self.destroyable: set[str] = set()
        #: how often the manager says no before the data of a store are elsewhere; None for never
        self.slowness: int | None = 0
        self.buckets = {"osd01", "osd02", "osd03"}
        #: placement group -> where its data are; where they should be follows the weights
        self.placed: dict[str, list[int]] = {}
        self.upmaps: dict[str, list[list[int]]] = {}

    # -- what is asked ---------------------------------------------------------------------------

    def answer(self, words: dict[str, Any], body: str) -> tuple[int, Any, str]:
        """Return code, data and text for one command."""
        name = "do_" + words["prefix"].replace(" ", "_").replace("-", "_")
        if not hasattr(self, name):
            return EINVAL, None, f"no such command: {words['prefix']}"
        found = getattr(self, name)(words, body)
        return found if isinstance(found, tuple) else (0, found, "")

    def write(self, change: Any) -> None:
        """Do a change, unless the cluster loses what it is told."""
        if not self.deaf:
            change()

    def do_status(self, words: Any, body: str) -> Any:
        states = [{"state_name": k, "count": v} for k, v in self.states.items()]
        return {
            "fsid": self.fsid,
            "health": self.do_health(words, body),
            "quorum_names": self.quorum,
            "osdmap": {
                "num_osds": len(self.osds),
                "num_up_osds": sum(osd["up"] for osd in self.osds.values()),
                "num_in_osds": sum(osd["in"] for osd in self.osds.values()),
            },
            "pgmap": {
                "pgs_by_state": states,
                "num_pgs": sum(self.states.values()),
                "num_pools": len(self.pools),
                "bytes_used": 10,
                "bytes_avail": 90,
                "bytes_total": 100,
            },
        }

    def do_health(self, words: Any, body: str) -> Any:
        checks = {
            code: {"summary": {"message": text, "count": 1}, "muted": code in self.muted}
            for code, text in self.checks.items()
        }
        left = set(self.checks) - self.muted
        return {"status": "HEALTH_WARN" if left else "HEALTH_OK", "checks": checks}

    def do_mon_dump(self, words: Any, body: str) -> Any:
        return {
            "fsid": self.fsid,
            "mons": [
                {
                    "name": name,
                    "public_addrs": {
                        "addrvec": [
                            {"type": "v2", "addr": f"192.0.2.{rank}:3300"},
                            {"type": "v1", "addr": f"192.0.2.{rank}:6789"},
                        ]
                    },
                }
                for rank, name in enumerate(self.monitors, 1)
            ],
        }

    def do_quorum_status(self, words: Any, body: str) -> Any:
        return {"quorum_names": self.quorum, "monmap": self.do_mon_dump(words, body)}

    def do_mgr_dump(self, words: Any, body: str) -> Any:
        active = self.managers[0] if self.managers else ""
        standbys = [{"name": name} for name in self.managers[1:]]
        return {"available": bool(active), "active_name": active, "standbys": standbys}

    def do_osd_dump(self, words: Any, body: str) -> Any:
        ids = {name: number for number, name in enumerate(self.rules)}
        return {
            "require_osd_release": self.release,
            "flags_set": sorted({*self.flags, "sortbitwise", "purged_snapdirs"}),
            "crush_node_flags": self.node_flags,
            "device_class_flags": {},
            "nearfull_ratio": 0.85,
            "backfillfull_ratio": 0.9,
            "full_ratio": 0.95,
            "modified": self.modified.get(words.get("epoch", self.epoch), LONG_AGO),
            "osds": [
                {
                    "osd": number,
                    "up": osd["up"],
                    "in": osd["in"],
                    "down_at": osd.get("down_at", 7),
                    "state": ["exists", "up"],
                }
                for number, osd in self.osds.items()
            ],
            "pg_upmap_items": [
                {"pgid": pgid, "mappings": [{"from": a, "to": b} for a, b in pairs]}
                for pgid, pairs in self.upmaps.items()
            ],
            "pools": [
                {
                    "pool": number,
                    "pool_name": name,
                    "size": pool["size"],
                    "min_size": pool["min_size"],
                    "crush_rule": ids[pool["crush_rule"]],
                    "pg_autoscale_mode": pool["pg_autoscale_mode"],
                    "pg_num": pool["pg_num"],
                    "pg_num_target": pool["pg_num"],
                    "flags_names": "hashpspool" + (",bulk" if pool["bulk"] == "true" else ""),
                    "quota_max_bytes": pool["max_bytes"],
                    "quota_max_objects": pool["max_objects"],
                    "application_metadata": pool["applications"],
                    "options": pool["options"],
                }
                for number, (name, pool) in enumerate(self.pools.items(), 1)
            ],
        }

    def do_osd_tree(self, words: Any, body: str) -> Any:
        hosts = sorted({osd["host"] for osd in self.osds.values()} | self.buckets)
        below = {
            host: [number for number, osd in self.osds.items() if osd["host"] == host]
            for host in hosts
        }
        nodes: list[dict[str, Any]] = [
            {"id": -1, "name": "default", "type": "root", "children": [-2]},
            {"id": -2, "name": "rack1", "type": "rack",
             "children": [-3 - i for i in range(len(hosts))]},
        ]  # fmt: skip
        for index, host in enumerate(hosts):
            nodes.append({"id": -3 - index, "name": host, "type": "host", "children": below[host]})
        for number, osd in self.osds.items():
            nodes.append(
                {
                    "id": number,
                    "name": f"osd.{number}",
                    "type": "osd",
                    "status": self.status(osd),
                    "reweight": float(osd["in"]),
                    "device_class": "hdd",
                    "crush_weight": osd.get("weight", 0.0039),
                }
            )
        return {"nodes": nodes, "stray": []}

    @staticmethod
    def status(osd: dict[str, Any]) -> str:
        if osd.get("destroyed"):
            return "destroyed"
        return "up" if osd["up"] else "down"

    def do_df(self, words: Any, body: str) -> Any:
        stats = {"total_bytes": 100, "total_used_raw_bytes": 10, "total_avail_bytes": 90}
        pools = [
            {"name": name, "stats": {"bytes_used": 1, "max_avail": 30, "objects": 2}}
            for name in self.pools
        ]
        return {"stats": stats, "pools": pools}

    def do_osd_ok_to_stop(self, words: Any, body: str) -> Any:
        good = set(words["ids"]) <= self.stoppable
        data = {"ok_to_stop": good, "num_ok_pgs": 30, "num_not_ok_pgs": 0 if good else 3}
        return 0 if good else EBUSY, data, "" if good else "unsafe to stop"

    def do_osd_safe_to_destroy(self, words: Any, body: str) -> Any:
        empty = {
            str(number)
            for number, osd in self.osds.items()
            if osd.get("destroyed") or not osd["in"] or osd.get("weight") == 0
        }
        if {*words["ids"]} <= empty and self.slowness is not None:
            if self.slowness == 0:
                self.destroyable |= {*words["ids"]}
            self.slowness = max(0, self.slowness - 1)
        safe = sorted(int(one) for one in set(words["ids"]) & self.destroyable)
        left = sorted(int(one) for one in set(words["ids"]) - self.destroyable)
        data = {"safe_to_destroy": safe, "active": left, "missing_stats": [], "stored_pgs": []}
        return EBUSY if left else 0, data, "no" if left else ""

    def do_pg_ls(self, words: Any, body: str) -> Any:
        stats = [{"pgid": f"1.{n}", "blocked_by": ids} for n, ids in enumerate(self.blocked_by)]
        return {"pg_ready": True, "pg_stats": stats}

    # -- object stores that come and go ----------------------------------------------------------

    def do_osd_df(self, words: Any, body: str) -> Any:
        size = 4 * 2**20
        nodes = [
            {"id": number, "kb": size, "kb_used": osd.get("used", size // 10)}
            for number, osd in self.osds.items()
        ]
        return {"nodes": nodes, "stray": []}

    def do_osd_out(self, words: Any, body: str) -> Any:
        for number in words["ids"]:
            self.write(lambda number=number: self.osds[int(number)].update({"in": 0}))

    def do_osd_in(self, words: Any, body: str) -> Any:
        for number in words["ids"]:
            self.write(lambda number=number: self.osds[int(number)].update({"in": 1}))

    def do_osd_destroy(self, words: Any, body: str) -> Any:
        # a number, not a text: the manager reads nothing else
        assert isinstance(words["id"], int)
        number = str(words["id"])
        if self.osds[int(number)]["up"]:
            return EBUSY, None, "osd is not down"
        # being sure counts as force for the real one
        forced = words.get("force") or words.get("yes_i_really_mean_it")
        if number not in self.destroyable and not forced:
            return EBUSY, None, "not safe to destroy"
        self.write(lambda: self.osds[int(number)].update(destroyed=True))
        return None

    def do_osd_purge(self, words: Any, body: str) -> Any:
        assert isinstance(words["id"], int)
        if str(words["id"]) not in self.destroyable or self.osds[words["id"]]["up"]:
            return EBUSY, None, "not safe to destroy"
        self.write(lambda: self.osds.pop(words["id"]))
        return None

    def do_osd_crush_rm(self, words: Any, body: str) -> Any:
        if any(osd["host"] == words["name"] for osd in self.osds.values()):
            return EBUSY, None, "not empty"
        self.write(lambda: self.buckets.discard(words["name"]))
        return None

    def do_osd_set(self, words: Any, body: str) -> Any:
        self.write(lambda: self.flags.add(words["key"]))

    def do_osd_unset(self, words: Any, body: str) -> Any:
        self.write(lambda: self.flags.discard(words["key"]))

    def should_be(self, pgid: str) -> list[int]:
        """Where a placement group should be: on a new store too once that weighs something."""
        new = [n for n, osd in self.osds.items() if osd.get("new") and osd.get("weight")]
        wanted = [new[0], *self.placed[pgid][1:]] if new else self.placed[pgid]
        sent = dict(map(tuple, self.upmaps.get(pgid, [])))
        return [sent.get(number, number) for number in wanted]

    def do_pg_dump(self, words: Any, body: str) -> Any:
        stats = []
        for pgid, acting in self.placed.items():
            up = self.should_be(pgid)
            if "norebalance" not in self.flags:
                self.placed[pgid] = acting = up
            stats.append({"pgid": pgid, "state": "active", "up": up, "acting": acting})
        return {"pg_ready": True, "pg_stats": stats}

    def do_osd_pg_upmap_items(self, words: Any, body: str) -> Any:
        flat = words["id"]
        pairs = [list(pair) for pair in zip(flat[::2], flat[1::2], strict=True)]
        self.write(lambda: self.upmaps.update({words["pgid"]: pairs}))

    def do_osd_rm_pg_upmap_items(self, words: Any, body: str) -> Any:
        self.write(lambda: self.upmaps.pop(words["pgid"], None))

    def do_mon_remove(self, words: Any, body: str) -> Any:
        self.write(lambda: self.monitors.remove(words["name"]))
        self.quorum = [name for name in self.quorum if name in self.monitors]

    def do_health_mute(self, words: Any, body: str) -> Any:
        if words["code"] not in self.checks:
            return ENOENT, None, f"health alert {words['code']} is not currently raised"
        self.write(lambda: self.muted.add(words["code"]))
        return None

    # -- pools, rules ----------------------------------------------------------------------------

    def do_osd_pool_create(self, words: Any, body: str) -> Any:
        def change() -> None:
            self.pools.setdefault(
                words["pool"],
                {
                    "size": words.get("size", 3),
                    "min_size": 2,
                    "crush_rule": words.get("rule", "replicated_rule"),
                    "pg_autoscale_mode": words.get("autoscale_mode", "on"),
                    "pg_num": words.get("pg_num", 32),
                    "bulk": "false",
                    "max_bytes": 0,
                    "max_objects": 0,
                    "applications": {},
                    "options": {},
                },
            )

        self.write(change)

    def do_osd_pool_set(self, words: Any, body: str) -> Any:
        key, value = words["var"], words["val"]
        if key == "size" and value == "1" and words.get("yes_i_really_mean_it") is not True:
            return EINVAL, None, "configuring pool size as 1 is disabled by default"
        pool = self.pools[words["pool"]]
        if key == "compression_mode":
            self.write(lambda: pool["options"].update(compression_mode=value))
        else:
            value = int(value) if key in ("size", "min_size", "pg_num") else value
            self.write(lambda: pool.update({key: value}))
        return None

    def do_osd_pool_set_quota(self, words: Any, body: str) -> Any:
        pool = self.pools[words["pool"]]
        self.write(lambda: pool.update({words["field"]: int(words["val"])}))

    def do_osd_pool_application_enable(self, words: Any, body: str) -> Any:
        applications = self.pools[words["pool"]]["applications"]
        if applications and words["app"] not in applications:
            return EACCES, None, "pool has another application"
        self.write(lambda: applications.update({words["app"]: {}}))
        return None

    def do_osd_pool_delete(self, words: Any, body: str) -> Any:
        if words["pool"] != words["pool2"] or not words["yes_i_really_really_mean_it"]:
            return EACCES, None, "not sure"
        self.write(lambda: self.pools.pop(words["pool"]))
        return None

    def do_osd_crush_rule_dump(self, words: Any, body: str) -> Any:
        return [
            {"rule_id": number, "rule_name": name, "steps": found["steps"]}
            for number, (name, found) in enumerate(self.rules.items())
        ]

    def do_osd_crush_rule_create_replicated(self, words: Any, body: str) -> Any:
        made = rule(words["root"], words["type"], words.get("class"))
        self.write(lambda: self.rules.setdefault(words["name"], made))

    def do_osd_crush_reweight(self, words: Any, body: str) -> Any:
        osd = self.osds[int(words["name"].removeprefix("osd."))]
        self.write(lambda: osd.update(weight=words["weight"]))

    def do_fs_ls(self, words: Any, body: str) -> Any:
        return [
            {"name": name, "metadata_pool": fs["metadata"], "data_pools": [fs["data"]]}
            for name, fs in self.filesystems.items()
        ]

    def do_fs_new(self, words: Any, body: str) -> Any:
        made = {"metadata": words["metadata"], "data": words["data"]}
        self.write(lambda: self.filesystems.update({words["fs_name"]: made}))

    # -- users, options, modules, notes ----------------------------------------------------------

    def do_auth_ls(self, words: Any, body: str) -> Any:
        return {"auth_dump": [{"entity": name, **user} for name, user in self.users.items()]}

    def do_auth_import(self, words: Any, body: str) -> Any:
        parser = configparser.ConfigParser(interpolation=None)
        parser.read_string("\n".join(line.strip() for line in body.splitlines()))
        for name in parser.sections():
            caps = {key.removeprefix("caps "): value.strip('"')
                    for key, value in parser[name].items() if key.startswith("caps ")}  # fmt: skip
            made = {"key": parser[name]["key"], "caps": caps}
            self.write(lambda name=name, made=made: self.users.update({name: made}))

    def do_auth_get_or_create(self, words: Any, body: str) -> Any:
        pairs = words["caps"]
        made = {"key": "A" * 38 + "==", "caps": dict(zip(pairs[::2], pairs[1::2], strict=True))}
        self.write(lambda: self.users.setdefault(words["entity"], made))

    def do_auth_caps(self, words: Any, body: str) -> Any:
        pairs = words["caps"]
        caps = dict(zip(pairs[::2], pairs[1::2], strict=True))
        self.write(lambda: self.users[words["entity"]].update(caps=caps))

    def do_auth_del(self, words: Any, body: str) -> Any:
        self.write(lambda: self.users.pop(words["entity"]))

    def do_config_dump(self, words: Any, body: str) -> Any:
        return [
            {"section": who, "name": name, "value": value, "mask": ""}
            for (who, name), value in self.options.items()
        ]

    def do_config_set(self, words: Any, body: str) -> Any:
        self.write(lambda: self.options.update({(words["who"], words["name"]): words["value"]}))

    def do_config_rm(self, words: Any, body: str) -> Any:
        self.write(lambda: self.options.pop((words["who"], words["name"])))

    def do_mgr_module_ls(self, words: Any, body: str) -> Any:
        return {
            "always_on_modules": self.modules["always"],
            "enabled_modules": list(self.modules["on"]),
            "disabled_modules": [{"name": name} for name in self.modules["off"]],
        }

    def do_mgr_module_enable(self, words: Any, body: str) -> Any:
        self.write(lambda: self._switch(words["module"], "off", "on"))

    def do_mgr_module_disable(self, words: Any, body: str) -> Any:
        self.write(lambda: self._switch(words["module"], "on", "off"))

    def _switch(self, module: str, source: str, target: str) -> None:
        self.modules[source].remove(module)
        self.modules[target].append(module)

    def do_config_key_dump(self, words: Any, body: str) -> Any:
        return {k: v for k, v in self.notes.items() if k.startswith(words["key"])}

    def do_config_key_set(self, words: Any, body: str) -> Any:
        self.write(lambda: self.notes.update({words["key"]: words["val"]}))

    def do_config_key_rm(self, words: Any, body: str) -> Any:
        self.write(lambda: self.notes.pop(words["key"]))

    def do_osd_set_group(self, words: Any, body: str) -> Any:
        for name in words["who"]:
            flags = self.node_flags.setdefault(name, [])
            self.write(lambda flags=flags: flags.append(words["flags"])
                       if words["flags"] not in flags else None)  # fmt: skip

    def do_osd_unset_group(self, words: Any, body: str) -> Any:
        for name in words["who"]:
            self.write(lambda name=name: self.node_flags.pop(name, None))


class Pool:
    """As ``rados.Ioctx``."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        self.objects = objects

    def write_full(self, name: str, content: bytes) -> None:
        self.objects[name] = content

    def read(self, name: str, length: int) -> bytes:
        return self.objects[name][:length]

    def remove_object(self, name: str) -> None:
        del self.objects[name]


def rule(root: str, domain: str, kind: str | None = None) -> dict[str, Any]:
    """A replicated rule as Ceph shows it."""
    taken = f"{root}~{kind}" if kind else root
    return {
        "steps": [
            {"op": "take", "item": -1, "item_name": taken},
            {"op": "chooseleaf_firstn", "num": 0, "type": domain},
            {"op": "emit"},
        ]
    }


def library(cluster: Cluster) -> Any:
    """Return what stands for the module ``rados``."""

    class Rados:
        """As ``rados.Rados``."""

        def __init__(self, name: str, conffile: str, conf: dict[str, str]) -> None:
            self.name, self.conffile, self.conf = name, conffile, conf
            self.open = False

        def connect(self, timeout: float = 0) -> None:
            assert timeout > 0, "a cluster without a quorum would hang the caller"
            assert isinstance(timeout, int), "a newer library refuses other numbers"
            if not cluster.up:
                raise TimedOut("[errno 110] RADOS timed out (error connecting to the cluster)")
            self.open = True

        def shutdown(self) -> None:
            self.open = False

        def get_fsid(self) -> str:
            return cluster.fsid

        @contextlib.contextmanager
        def open_ioctx(self, pool: str) -> Any:
            assert self.open
            if pool not in cluster.pools:
                raise ObjectNotFound("[errno 2] error opening pool")
            yield Pool(cluster.objects)

        def mon_command(self, text: str, body: bytes) -> tuple[int, bytes, str]:
            assert self.open
            words = json.loads(text)
            cluster.said.append(words)
            cluster.bodies.append(body.decode())
            code, data, told = cluster.answer(words, body.decode())
            return code, b"" if data is None else json.dumps(data).encode(), told

        def mgr_command(self, text: str, body: bytes) -> tuple[int, bytes, str]:
            if not cluster.managers:
                return -110, b"", "no active mgr"
            return self.mon_command(text, body)

    class Library:
        """The module."""

    made = Library()
    made.Rados = Rados  # type: ignore[attr-defined]
    made.Error, made.TimedOut, made.ObjectNotFound = Error, TimedOut, ObjectNotFound  # type: ignore[attr-defined]
    return made
