"""Made-up inventories with the shape of real MCP models: same seed, same files, byte for byte.

What a real model looks like was measured on public ones: some 900 or 2,850 class files, most of
them used by nobody; a node includes 42 of them or more, through a class of its group and of its
rack, and gets about 38 KB of data, written with hundreds of ``${_param:…}``.

>>> files = generate(Shape(nodes=35))
>>> write(tmp_path, Shape(nodes=35, classes=2850))      # doctest: +SKIP
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

#: sizes that were measured on real models (classes)
LAB, MCP = 900, 2850

#: roles that every node has; a model of MCP's size has all of them
BASE = (
    "linux.system",
    "linux.network",
    "salt.minion",
    "ntp.client",
    "openssh.server",
    "rsyslog.client",
    "telegraf.agent",
    "iptables.server",
    "linux.storage",
    "fluentd.agent",
    "logrotate.server",
    "auditd.service",
    "prometheus.collector",
    "sphinx.server",
    "backupninja.client",
    "openscap.service",
    "chrony.client",
    "postfix.client",
)
#: how many of them by size of the model
_BASE_COUNT = {LAB: 8, MCP: 18}

#: group of hosts -> roles
GROUPS = {
    "cfg": "salt.master salt.api reclass.storage git.client jenkins.client maas.region"
    " nginx.server",
    "kvm": "libvirt.server salt.control glusterfs.server keepalived.cluster openvswitch.switch",
    "ctl": "keystone.server glance.server nova.controller neutron.server cinder.controller"
    " heat.server memcached.server apache.server haproxy.proxy keepalived.cluster",
    "dbs": "galera.server mysql.client xtrabackup.client haproxy.proxy keepalived.cluster",
    "msg": "rabbitmq.server rabbitmq.cluster keepalived.cluster haproxy.proxy erlang.runtime",
    "prx": "nginx.server nginx.proxy horizon.server keepalived.cluster apache.server",
    "gtw": "neutron.gateway openvswitch.switch nova.metadata keepalived.cluster bird.client",
    "log": "elasticsearch.server kibana.server curator.client keepalived.cluster haproxy.proxy",
    "mon": "prometheus.server alertmanager.server grafana.client docker.swarm glusterfs.client",
    "mtr": "influxdb.server influxdb.relay haproxy.proxy keepalived.cluster docker.host",
    "ntw": "opencontrail.control opencontrail.config zookeeper.server cassandra.server bird.client",
    "nal": "opencontrail.analytics kafka.server zookeeper.server cassandra.server redis.server",
    "cmn": "ceph.common ceph.mon ceph.mgr keepalived.cluster docker.host",
    "rgw": "ceph.common ceph.radosgw haproxy.proxy keepalived.cluster apache.server",
    "kct": "kubernetes.master kubernetes.common etcd.server haproxy.proxy keepalived.cluster",
    "cmp": "nova.compute neutron.compute cinder.volume libvirt.server openvswitch.switch",
    "osd": "ceph.common ceph.osd ceph.backup lvm.storage smartd.service",
    "kcm": "kubernetes.pool kubernetes.common calico.node docker.host cni.plugin",
}
#: kind of cluster -> (groups of a fixed size, the group that takes the rest, in racks)
KINDS = {
    "openstack": (
        {"cfg": 1, "kvm": 3, "ctl": 3, "dbs": 3, "msg": 3, "prx": 2, "gtw": 3}
        | {"log": 3, "mon": 3, "mtr": 3},
        "cmp",
    ),
    "kubernetes": ({"cfg": 1, "kvm": 3, "kct": 3, "prx": 2, "log": 3, "mon": 3}, "kcm"),
    "ceph": ({"cfg": 1, "cmn": 3, "rgw": 3, "mon": 3, "log": 3}, "osd"),
    "contrail": (
        {"cfg": 1, "kvm": 3, "ctl": 3, "dbs": 3, "msg": 3, "ntw": 3, "nal": 3, "prx": 2, "mon": 3},
        "cmp",
    ),
}
_RACK = 20  # hosts
_MOST_RACKS = 8
_CLUSTER = 125  # hosts of a cluster, until there are _MOST_CLUSTERS
_MOST_CLUSTERS = 12
_VARIANTS = 16  # classes of a service that nobody uses

#: parameters that each service has: set by its service class, and by the cluster
_SERVICE_PARAMS = ("version", "service_port", "log_level", "user")
_CLUSTER_PARAMS = ("service_host", "password", "database_host")

# A word names one type everywhere, so that layers always merge.
# fmt: off
_NOUNS = (
    "worker", "connection", "session", "thread", "queue", "buffer", "cache", "journal", "socket",
    "policy", "image", "volume", "network", "storage", "backend", "endpoint", "token", "domain",
    "region", "pool", "quota", "agent", "driver",
)
# fmt: on
_SCALARS = ("timeout", "limit", "size", "mode", "path", "interval", "address", "name", "level")
_DICTS = ("options", "settings", "defaults", "tuning", "limits", "engine", "plugin", "profile")
_LISTS = ("servers", "members", "rules", "packages", "modules", "targets")


@dataclass(frozen=True)
class Shape:
    """What to make.

    :param nodes: number of node files, at least 35
    :param classes: number of class files
    :param quirks: also what reclass swallows and the strict mode refuses: keys written twice,
        ``parameter:``, boolean keys
    :param ignored: also includes of classes that do not exist (see :meth:`options`)
    :param queries: also exports and inventory queries
    :param hosts: also what makes a node one of a cluster of this project, with a topology
    :param links: service classes lie with their formulas, as MCP installs them; links lead there
    """

    nodes: int = 35
    classes: int = LAB
    seed: int = 1
    quirks: bool = False
    ignored: bool = False
    queries: bool = False
    hosts: bool = False
    links: bool = False

    def options(self) -> dict[str, Any]:
        """Engine options that this inventory needs; Python reclass takes all but ``compat``."""
        options: dict[str, Any] = {"compat": "reclass"} if self.quirks else {}
        if self.ignored:
            options["ignore_class_notfound"] = True
            options["ignore_class_notfound_regexp"] = [r"service\.absent\..*"]
        return options


@dataclass(frozen=True)
class Plain:
    """A scalar to be written as it stands: ``yes``, ``0644``."""

    text: str
    tag: str


def generate(shape: Shape) -> dict[str, Any]:
    """Return path -> data of every file, ``classes/…`` and ``nodes/…``.

    The paths are those that the engines see; :func:`write` may place files behind links.

    :raises ValueError: the shape cannot be: too few nodes, or too few classes for its clusters
    """
    return _Maker(shape).make()


def text(data: Any) -> str:
    """Return the YAML text of one file."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, default_flow_style=False, width=100)


def write(top: Path, shape: Shape) -> Path:
    """Write an inventory below ``top`` and return it."""
    (top / "classes").mkdir(parents=True)
    (top / "nodes").mkdir()
    made: set[Path] = set()
    for name, data in generate(shape).items():
        path = top / name
        parts = path.relative_to(top).parts
        if shape.links and parts[:2] == ("classes", "service"):
            home = top / "formulas" / parts[2] / "metadata/service"
            link = top / "classes/service" / parts[2]
            if link not in made:
                home.mkdir(parents=True)
                link.parent.mkdir(exist_ok=True)
                link.symlink_to(home, target_is_directory=True)
                made.add(link)
        if path.parent not in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            made.add(path.parent)
        content = text(data)
        if shape.quirks and name.endswith("/support.yml"):
            content = _twice(content)
        path.write_text(content, encoding="utf-8")
    return top


class _Maker:
    """Collects the files; each name has its own random numbers, whatever else is made."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.files: dict[str, Any] = {}
        large = shape.classes > (LAB + MCP) // 2
        self.base = BASE[: _BASE_COUNT[MCP if large else LAB]]

    def make(self) -> dict[str, Any]:
        roles = dict.fromkeys([*self.base, *" ".join(GROUPS.values()).split()])
        for role in roles:
            self._role(role)
        for name, kind, groups in self._clusters():
            self._cluster(name, kind, groups)
        self._unused()
        if self.shape.quirks:
            ntp = self.files["classes/service/ntp/client/cluster.yml"]
            ntp["parameter"] = {"ntp": {"client": {"dead": True}}}
            openssh = self.files["classes/service/openssh/server/cluster.yml"]["parameters"]
            openssh["openssh"]["server"]["switches"] = {
                Plain("on", _BOOL): 1,
                Plain("Off", _BOOL): 2,
            }
        return self.files

    def _random(self, *name: str) -> random.Random:
        return random.Random(":".join((str(self.shape.seed), *name)))

    def _add(self, name: str, **sections: Any) -> None:
        """Add a class; the sections that are empty are left out."""
        kept = {key: value for key, value in sections.items() if value}
        self.files[f"classes/{name.replace('.', '/')}.yml"] = kept

    def _clusters(self) -> Iterator[tuple[str, str, dict[str, int]]]:
        """Share the nodes out; every cluster gets its groups of fixed size first."""
        count = min(_MOST_CLUSTERS, max(1, self.shape.nodes // _CLUSTER))
        left = self.shape.nodes
        for number in range(count):
            kind = list(KINDS)[number % len(KINDS)]
            fixed, rest = KINDS[kind]
            share = left // (count - number)
            left -= share
            if share <= sum(fixed.values()):
                raise ValueError(f"{share} nodes are too few for a cluster of kind {kind}")
            yield f"{kind}-{number + 1:02d}", kind, {**fixed, rest: share - sum(fixed.values())}

    # service and system layer

    def _role(self, role: str) -> None:
        service, _, name = role.partition(".")
        support = f"service.{service}.support"
        path = f"service.{service}.{name}.cluster"
        rng = self._random(path)
        params = self._params(service)
        if f"classes/{support.replace('.', '/')}.yml" not in self.files:
            self._add(support, parameters={service: {"_support": self._support(rng)}})
        data = {"enabled": True, **self._section(rng, rng.randint(22, 48), service)}
        includes = [support]
        if self.shape.ignored and rng.random() < 0.3:
            includes.append(f"service.absent.{service}")
        self._add(
            path,
            classes=includes,
            applications=[service],
            parameters={"_param": params, service: {name: data}},
            exports={f"{service}_{name}": {"host": "${_param:single_address}", "version": 1}}
            if self.shape.queries
            else None,
        )
        rng = self._random(f"system.{service}.{name}")
        self._add(
            f"system.{service}.{name}.cluster",
            classes=[path, *self._shared(rng, service)],
            parameters={
                "_param": {f"{service}_log_level": rng.choice(["info", "warning", "debug"])},
                service: {name: self._over(rng, data, service, 0.3)},
                **self._across(rng, service, name),
            },
        )

    def _params(self, service: str) -> dict[str, Any]:
        rng = self._random("params", service)
        values = {
            "version": rng.choice(["mitaka", "ocata", "pike", "queens", "1.9", "2.4"]),
            "service_port": rng.randint(1024, 49151),
            "log_level": "error",
            "user": service,
        }
        return {f"{service}_{name}": values[name] for name in _SERVICE_PARAMS}

    def _shared(self, rng: random.Random, service: str) -> list[str]:
        """System classes that several services include: repositories, as in real models."""
        if service in ("linux", "salt"):
            return []
        name = f"system.linux.system.repo.{rng.choice('abcdefgh')}"
        path = f"classes/{name.replace('.', '/')}.yml"
        if path not in self.files:
            repo = name.rpartition(".")[2]
            suite = "${_param:linux_system_codename}"
            self._add(
                name,
                parameters={
                    "linux": {
                        "system": {
                            "repo": {
                                f"mirror_{repo}": {
                                    "source": "deb [arch=amd64]"
                                    f" http://${{_param:apt_${{_param:apt_kind}}_host}}/{repo}/"
                                    f" {suite} main",
                                    "architectures": "amd64",
                                    "default": Plain("no", _BOOL),
                                    # int keys, as in the priorities of real models
                                    "pin": {100: {"priority": 1100, "package": f"{repo}*"}},
                                }
                            }
                        }
                    }
                },
            )
        return [name]

    def _across(self, rng: random.Random, service: str, name: str) -> dict[str, Any]:
        """What a role writes at other services' keys."""
        linux = {
            "package": {f"{service}-tools": {"version": "latest"}},
            "kernel": {"sysctl": {f"net.core.{service}_{name}": rng.randint(1, 65535)}},
            "user": {
                service: {
                    "enabled": True,
                    "home": f"/var/lib/${{_param:{service}_user}}",
                    "shell": "/bin/false",
                }
            },
            "file_modes": [Plain(rng.choice(["0644", "0640", "0755"]), _INT)],
        }
        data: dict[str, Any] = {"linux": {"system": linux}}
        if rng.random() < 0.5:
            data["iptables"] = {
                "service": {
                    "chain": {
                        "INPUT": {
                            "rules": [
                                {
                                    "destination_port": f"${{_param:{service}_service_port}}",
                                    "protocol": "tcp",
                                    "jump": "ACCEPT",
                                }
                            ],
                            "priorities": {rng.randint(1, 90): service},
                        }
                    }
                }
            }
        return data

    def _support(self, rng: random.Random) -> dict[str, Any]:
        words = ("collectd", "heka", "sensu", "sphinx", "telegraf", "prometheus", "fluentd")
        return {
            word: {"enabled": rng.choice([Plain("yes", _BOOL), Plain("off", _BOOL), True, False])}
            for word in words
        }

    # cluster layer and nodes

    def _cluster(self, name: str, kind: str, groups: dict[str, int]) -> None:
        top = f"cluster.{name}"
        rng = self._random(top)
        roles = [role for group in groups for role in self._roles(group)]
        services = dict.fromkeys(role.partition(".")[0] for role in [*self.base, *roles])
        self._add(
            f"{top}.init",
            classes=[f"{top}.overrides", f"{top}.networking"],
            parameters={"_param": self._generic(rng, name, services)},
        )
        # `a.init` is how a file is named; the class is `a`
        self.files[f"classes/cluster/{name}/init.yml"]["classes"].insert(
            0, f"system.{self.base[0]}.cluster"
        )
        self._add(
            f"{top}.overrides",
            parameters={
                "_param": {
                    f"{service}_log_level": rng.choice(["info", "warning"])
                    for service in services
                    if rng.random() < 0.3
                },
                "salt": {"minion": {"trusted_ca_minions": [f"cfg001.{name}.test"]}},
            },
        )
        self._add(f"{top}.networking", parameters=self._networking(rng))
        infra = [f"system.{role}.cluster" for role in self.base]
        self._add(f"{top}.infra", classes=[*infra, top], parameters=self._local(rng, self.base))
        for area in dict.fromkeys(self._area(group) for group in groups):
            self._add(f"{top}.{area}", classes=[f"{top}.infra"], parameters=self._local(rng, ()))
        for group, count in groups.items():
            own = self._roles(group)
            includes = [f"system.{role}.cluster" for role in own]
            path = f"{top}.{self._area(group)}.{group}"
            self._add(
                path,
                classes=[*includes, f"{top}.{self._area(group)}"],
                parameters=self._local(self._random(path), own),
            )
            self._hosts(name, group, path, count, racked=group == KINDS[kind][1])

    @staticmethod
    def _area(group: str) -> str:
        return "control" if group in ("ctl", "dbs", "msg", "prx", "kct", "cmn") else "pool"

    def _roles(self, group: str) -> list[str]:
        return [role for role in GROUPS[group].split() if role not in self.base]

    def _generic(self, rng: random.Random, name: str, services: dict[str, None]) -> dict[str, Any]:
        octet = rng.randint(0, 250)
        params: dict[str, Any] = {
            "cluster_name": name,
            "cluster_domain": f"{name}.test",
            "cluster_vip_address": f"198.51.100.{octet}",
            "cluster_local_address": "${_param:single_address}",
            "cluster_public_host": "${_param:cluster_vip_address}",
            "cluster_internal_host": "${_param:cluster_vip_address}",
            "endpoint_kind": rng.choice(["public", "internal"]),
            "domain": "${_param:cluster_domain}",
            "region": "RegionOne",
            "linux_system_codename": "bookworm",
            "apt_kind": rng.choice(["stable", "testing"]),
            "apt_stable_host": "apt.${_param:cluster_domain}",
            "apt_testing_host": "apt-testing.${_param:cluster_domain}",
            "dns_servers": ["192.0.2.53", "192.0.2.54"],
            "dhcp_interface": {"enabled": True, "type": "eth", "proto": "dhcp", "mtu": 1500},
            "static_interface": {
                "enabled": True,
                "type": "eth",
                "proto": "static",
                "address": "${_param:single_address}",
                "netmask": "255.255.255.0",
                "name_servers": "${_param:dns_servers}",
            },
        }
        for number in range(1, 4):
            params[f"cluster_node{number:02d}_hostname"] = f"ctl{number:03d}"
            params[f"cluster_node{number:02d}_address"] = f"192.0.2.{10 + number}"
        for service in services:
            # nested references are rare
            host = "${_param:endpoint_kind}" if rng.random() < 0.1 else "internal"
            params[f"{service}_service_host"] = f"${{_param:cluster_{host}_host}}"
            params[f"{service}_password"] = f"{rng.getrandbits(96):024x}"
            params[f"{service}_database_host"] = "${_param:cluster_vip_address}"
        return params

    def _networking(self, rng: random.Random) -> dict[str, Any]:
        return {
            "linux": {
                "network": {
                    "bridge": "openvswitch",
                    "hostname": "${linux:system:name}",
                    "fqdn": "${linux:system:name}.${linux:system:domain}",
                    "resolv": {"dns": "${_param:dns_servers}", "search": ["${_param:region}.test"]},
                    "interface": {
                        "ens2": "${_param:dhcp_interface}",
                        "ens3": "${_param:static_interface}",
                    },
                    "host": {
                        f"node{n:02d}": {
                            "address": f"${{_param:cluster_node{n:02d}_address}}",
                            "names": [
                                f"${{_param:cluster_node{n:02d}_hostname}}",
                                f"${{_param:cluster_node{n:02d}_hostname}}.${{_param:domain}}",
                            ],
                        }
                        for n in range(1, 4)
                    },
                },
                "system": {"timezone": "UTC", "locale": {"en_US.UTF-8": {"default": True}}},
            }
        }

    def _local(self, rng: random.Random, roles: tuple[str, ...] | list[str]) -> dict[str, Any]:
        """What a class of the cluster changes about its roles."""
        data: dict[str, Any] = {}
        for role in roles:
            service, _, name = role.partition(".")
            below = self.files[f"classes/service/{service}/{name}/cluster.yml"]
            over = self._over(rng, below["parameters"][service][name], service, 0.15)
            data.setdefault(service, {}).setdefault(name, {}).update(over)
        # merged over a reference to a dictionary: neither is known before the node is
        network = {"interface": {"ens3": {"mtu": rng.choice([1500, 9000])}}}
        data.setdefault("linux", {})["network"] = {**data.get("linux", {}).get("network", {})}
        data["linux"]["network"].update(network)
        return data

    def _hosts(self, cluster: str, group: str, path: str, count: int, *, racked: bool) -> None:
        racks = min(_MOST_RACKS, -(-count // _RACK)) if racked else 0
        for number in range(1, racks + 1):
            rng = self._random(path, "rack", str(number))
            self._add(
                f"{path}_rack{number:02d}",
                classes=[path],
                parameters={
                    "_param": {"rack": f"r{number:02d}", "rack_gateway": f"203.0.113.{number}"},
                    "linux": {
                        "network": {
                            "gateway": "${_param:rack_gateway}",
                            "route": {f"rack{number:02d}": {"address": "203.0.113.0"}},
                        },
                        "system": {"label": ["rack=${_param:rack}", f"row={rng.randint(1, 4)}"]},
                    },
                },
            )
        for number in range(1, count + 1):
            name = f"{group}{number:03d}"
            serial = len(self.files)
            includes = [path]
            if racks:
                includes = [f"{path}_rack{(number - 1) * racks // count + 1:02d}"]
            data: dict[str, Any] = {
                "classes": includes,
                "parameters": {
                    "_param": {
                        "single_address": f"10.{serial // 62500}.{serial // 250 % 250}."
                        f"{serial % 250 + 1}",
                        "salt_master_host": f"cfg001.{cluster}.test",
                        "keepalived_vip_priority": 100 + number % 100,
                    },
                    "linux": {"system": {"name": name, "domain": f"{cluster}.test"}},
                },
            }
            if self.shape.hosts:
                data["parameters"]["host"] = {
                    "name": name,
                    "fqdn": f"{name}.{cluster}.test",
                    "address": "${_param:single_address}",
                    "provider": "nspawn",
                    "image": "bookworm",
                }
            if self.shape.queries:
                query = "$[ exports:salt_minion:host if exports:salt_minion:version == 1 ]"
                data["parameters"]["minions"] = query
                data["environment"] = cluster.partition("-")[0]
            self.files[f"nodes/_generated/{name}.{cluster}.test.yml"] = data

    def _unused(self) -> None:
        """Classes that no node includes: most of a real model."""
        missing = self.shape.classes - sum(name.startswith("classes/") for name in self.files)
        if missing < 0:
            raise ValueError(f"these clusters need {-missing} more classes")
        for number in range(missing):
            service = f"other{number // _VARIANTS:03d}"
            layer = "service" if number % _VARIANTS < 3 else "system"
            name = f"{layer}.{service}.variant{number % _VARIANTS:02d}"
            rng = self._random(name)
            self._add(
                name,
                classes=[f"service.{service}.variant00"] if layer == "system" else [],
                parameters={
                    "_param": self._params(service),
                    service: {"server": self._section(rng, rng.randint(6, 30), service)},
                },
            )

    # data

    def _section(self, rng: random.Random, leaves: int, service: str, depth: int = 0) -> Any:
        """A dictionary of about so many leaves; deep ones are rare."""
        out: dict[str, Any] = {}
        while leaves > 0:
            dice = rng.random()
            noun = rng.choice(_NOUNS)
            if depth < 6 and leaves > 3 and dice < 0.16:
                share = rng.randint(2, max(2, leaves * 2 // 3))
                key = f"{noun}_{rng.choice(_DICTS)}"
                out.setdefault(key, self._section(rng, share, service, depth + 1))
                leaves -= share
            elif dice < 0.24:
                count = rng.randint(1, 4)
                out.setdefault(f"{noun}_{rng.choice(_LISTS)}", self._list(rng, count, service))
                leaves -= count
            else:
                out.setdefault(f"{noun}_{rng.choice(_SCALARS)}", self._leaf(rng, service))
                leaves -= 1
        return out

    def _list(self, rng: random.Random, count: int, service: str) -> list[Any]:
        if rng.random() < 0.6:
            return [self._leaf(rng, service) for _ in range(count)]
        return [
            {
                "name": f"${{_param:cluster_node{n % 3 + 1:02d}_hostname}}",
                "host": f"${{_param:cluster_node{n % 3 + 1:02d}_address}}",
                "port": f"${{_param:{service}_service_port}}",
                "weight": rng.randint(1, 100),
            }
            for n in range(count)
        ]

    def _over(self, rng: random.Random, data: dict[str, Any], service: str, share: float) -> Any:
        """Change a share of what lies below: replace scalars, append to lists; add a little."""
        out: dict[str, Any] = {}
        for key, value in data.items():
            if isinstance(value, dict):
                inner = self._over(rng, value, service, share)
                if inner and rng.random() < 2 * share:
                    out[key] = inner
            elif rng.random() < share:
                if isinstance(value, list):
                    out[key] = self._list(rng, 1, service)
                elif key != "enabled":
                    out[key] = self._leaf(rng, service)
        for key, value in self._section(rng, rng.randint(0, 3), service, depth=9).items():
            out.setdefault(key, value)
        return out

    def _leaf(self, rng: random.Random, service: str) -> Any:
        dice = rng.random()
        own = rng.choice(_SERVICE_PARAMS + _CLUSTER_PARAMS)
        if dice < 0.09:
            return f"${{_param:{service}_{own}}}"
        if dice < 0.12:
            name = rng.choice(["cluster_local_address", "region", "cluster_domain"])
            return f"${{_param:{name}}}"
        if dice < 0.15:
            return f"{own}.${{_param:cluster_domain}}"
        if dice < 0.155:
            return (
                f"http://${{_param:{service}_service_host}}:${{_param:{service}_service_port}}"
                f"/v{rng.randint(1, 3)}"
            )
        if dice < 0.156:
            return "${_param:cluster_${_param:endpoint_kind}_host}"
        if dice < 0.16:
            return "${_reclass_:name:full}"
        if dice < 0.45:
            return rng.randint(0, 65535)
        if dice < 0.52:
            return Plain(rng.choice(["yes", "no", "on", "off", "Yes", "On"]), _BOOL)
        if dice < 0.60:
            return rng.random() < 0.5
        if dice < 0.61:
            return None
        if dice < 0.63:
            return round(rng.random() * 10, 2)
        words = rng.choices(_NOUNS, k=rng.choice((1, 1, 1, 2, 3)))
        return rng.choice(("-", "_", " ", "/")).join(words)


_BOOL, _INT = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:int"
_Base: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Dumper(_Base):  # type: ignore[misc]
    """Block style without anchors, as people write."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(Plain, lambda dumper, plain: dumper.represent_scalar(plain.tag, plain.text))


def _twice(content: str) -> str:
    """Write the key ``parameters`` a second time, in front of the one that counts."""
    return "parameters:\n  twice: 1\n" + content
