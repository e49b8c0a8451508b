"""A cloud in memory that keeps what it is given, and may lose or make anew any of it."""

from __future__ import annotations

import copy
import hashlib
import itertools
import struct
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import keystoneauth1.exceptions as ksa
import openstack.exceptions

from saltern.sanity.client import CheckError, Deadline
from saltern.sanity.target import Target

NOT_FOUND = openstack.exceptions.NotFoundException
SERVICES = ("image", "network", "compute", "block-storage", "s3")
S3 = "https://api.example.test:7480"


def qcow2(disk: bytes, bits: int = 16) -> bytes:
    """A disk as `qemu-img convert -O qcow2` writes it: clusters of zeros are left out."""
    size = 1 << bits
    chunks = [disk[n : n + size].ljust(size, b"\0") for n in range(0, len(disk), size)]
    entries, data, place = [], b"", 3 * size
    for chunk in chunks:
        entries.append(place + len(data) | 1 << 63 if chunk.strip(b"\0") else 0)
        data += chunk if entries[-1] else b""
    head = struct.pack(">4sIQIIQIIQ", b"QFI\xfb", 3, 0, 0, bits, 1 << 30, 0, 1, size)
    table = struct.pack(">Q", 2 * size | 1 << 63)
    second = b"".join(struct.pack(">Q", entry) for entry in entries)
    return b"".join(part.ljust(size, b"\0") for part in (head, table, second)) + data


class Thing(SimpleNamespace):
    """Anything; an image is filled as the SDK does it."""

    def upload(self, api: Image) -> None:
        api.put(self.id, self.data)


class Cloud:
    """All services at once. ``things`` holds everything by kind and id."""

    def __init__(self) -> None:
        self.services = set(SERVICES)
        self.things: dict[str, dict[str, Any]] = {}
        self.roles: set[tuple[str, str]] = set()
        self.passwords: dict[str, str] = {}
        self.blobs: dict[str, bytes] = {}
        self.console: dict[str, list[str]] = {}
        self.rules: dict[str, list[dict[str, Any]]] = {}
        self.interfaces: dict[str, str] = {}
        self.answering = True
        self.refuse: set[str] = set()
        self.calls: list[str] = []
        self.numbers = itertools.count(1)
        self.add("network", name="provider", project_id="other", is_external=True)
        self.add("image", name="guest", owner="other", status="active")

    # -- what a test does to it ------------------------------------------------------------------

    def add(self, kind: str, **known: Any) -> Any:
        number = next(self.numbers)
        made = Thing(id=f"{kind}-{number}", created_at=f"T{number}", **known)
        made.description = known.get("description", "")
        self.things.setdefault(kind, {})[made.id] = made
        return made

    def all(self, kind: str) -> list[Any]:
        return list(self.things.get(kind, {}).values())

    def one(self, kind: str) -> Any:
        """The canary of a kind."""
        if kind in ("ip", "credential", "object", "attachment"):
            (found,) = self.all(kind)
            return found
        (found,) = [one for one in self.all(kind) if one.name.startswith("canary-")]
        return found

    def drop(self, kind: str) -> Any:
        """Lose the canary of a kind, without a word."""
        return self.things[kind].pop(self.one(kind).id)

    def again(self, kind: str) -> None:
        """Make the canary of a kind anew under its old id, as a careful repair would."""
        self.one(kind).created_at = "T-later"

    def left(self) -> list[str]:
        return [
            str(one.id)
            for kind in self.things
            for one in self.all(kind)
            if getattr(one, "name", "") not in ("provider", "guest")
        ]

    # -- what the SDK calls alike ----------------------------------------------------------------

    def get(self, kind: str, id: str) -> Any:
        self.calls.append(f"get {kind}")
        id = getattr(id, "id", id)
        if id not in self.things.get(kind, {}):
            raise NOT_FOUND(f"no {kind} {id}")
        return copy.deepcopy(self.things[kind][id])

    def delete(self, kind: str, id: str, ignore_missing: bool = True) -> None:
        self.calls.append(f"delete {kind}")
        if kind in self.refuse:
            raise openstack.exceptions.ConflictException(f"{kind} is in use")
        id = getattr(id, "id", id)
        if self.things.get(kind, {}).pop(id, None) is None and not ignore_missing:
            raise NOT_FOUND(f"no {kind} {id}")

    def create(self, kind: str, **known: Any) -> Any:
        self.calls.append(f"create {kind}")
        if f"create {kind}" in self.refuse:
            raise openstack.exceptions.HttpException(f"{kind}: the service is out of order")
        return copy.deepcopy(self.add(kind, **known))


class Context:
    """What one user sees of it; in place of :class:`saltern.sanity.client.Context`."""

    def __init__(self, world: Cloud, target: Target, deadline: Deadline) -> None:
        self.world, self.target = world, target
        self.who = target.credentials.username
        self.session = Session(self, deadline)
        self.cloud = SimpleNamespace(
            identity=Identity(self),
            image=Image(self),
            network=Network(self),
            compute=Compute(self),
            block_storage=Storage(self),
        )

    @property
    def project(self) -> str:
        if self.who == "admin":
            return "admin"
        return next(
            (p.id for p in self.world.all("project") if p.name == self.target.credentials.project),
            "",
        )

    def endpoint(self, kind: str) -> str:
        if kind not in self.world.services:
            raise CheckError(f"the catalogue has no endpoint of type {kind}")
        return f"{S3}/"


class Session:
    def __init__(self, context: Context, deadline: Deadline) -> None:
        self.context, self.world, self.deadline = context, context.world, deadline

    def _user(self) -> Any:
        named = [u for u in self.world.all("user") if u.name == self.context.who]
        return named[0] if named else None

    def get_token(self) -> str:
        user, who = self._user(), self.context.target.credentials
        right = user is not None and self.world.passwords.get(user.id) == who.password
        if (
            not right
            or not user.is_enabled
            or (self.context.project, user.id) not in self.world.roles
        ):
            raise ksa.Unauthorized("The request you have made requires authentication")
        return "token"

    def get_user_id(self) -> str:
        return str(self._user().id)

    def get_project_id(self) -> str:
        return self.context.project

    def get_endpoint(self, service_type: str, **_: Any) -> str | None:
        if "catalogue" in self.world.refuse:
            raise ksa.ConnectFailure("Unable to connect to https://api.example.test:5000/v3")
        if service_type not in self.world.services:
            raise ksa.EndpointNotFound(f"public endpoint for {service_type} service not found")
        return f"https://api/{service_type}"

    # -- EC2 credentials of Keystone ---------------------------------------------------------

    def _credential(self, url: str) -> Any:
        id = url.rpartition("/OS-EC2")[2].strip("/")
        if id not in self.world.things.get("credential", {}):
            raise ksa.NotFound(f"Could not find credential: {id}")
        return self.world.things["credential"][id]

    def get(self, url: str) -> Any:
        if url.endswith("/OS-EC2"):
            found = [one.known for one in self.world.all("credential")]
            return SimpleNamespace(json=lambda: {"credentials": found})
        known = self._credential(url).known
        return SimpleNamespace(json=lambda: {"credential": known})

    def post(self, url: str, json: Any) -> Any:
        made = self.world.add("credential")
        made.known = {"access": made.id, "tenant_id": json["tenant_id"], "secret": "s3cr3t" * 5}
        return SimpleNamespace(json=lambda: {"credential": made.known})

    def delete(self, url: str) -> None:
        self.world.delete("credential", self._credential(url).id)

    # -- S3 ----------------------------------------------------------------------------------

    def request(
        self, url: str, method: str, authenticated: bool, data: bytes, headers: dict[str, str]
    ) -> Any:
        assert not authenticated
        assert headers["Authorization"].startswith("AWS4-HMAC-SHA256 Credential=credential-")
        key = urlsplit(url).path.strip("/")
        kept = self.world.things.setdefault("object", {})
        bucket = self.world.things.setdefault("bucket", {})
        if "/" not in key:
            bucket[key] = SimpleNamespace(id=key)
            if method == "DELETE":
                self.world.delete("bucket", key)
            return None
        if method == "PUT":
            self.world.calls.append("create object")
            kept[key] = SimpleNamespace(id=key, data=data, changed=f"D{next(self.world.numbers)}")
        elif key not in kept:
            raise ksa.NotFound("NoSuchKey")
        elif method == "DELETE":
            return self.world.delete("object", key)
        found = kept[key]
        etag = hashlib.md5(found.data).hexdigest()
        return SimpleNamespace(
            content=found.data, headers={"ETag": etag, "Last-Modified": found.changed}
        )


class Api:
    def __init__(self, context: Context) -> None:
        self.context, self.world = context, context.world

    def _mine(self, kind: str, **wanted: Any) -> list[Any]:
        found = [copy.deepcopy(one) for one in self.world.all(kind)]
        return [one for one in found if all(getattr(one, k, None) == v for k, v in wanted.items())]

    def __getattr__(self, name: str) -> Any:
        verb, _, kind = name.partition("_")
        if verb not in ("get", "delete"):
            raise AttributeError(name)
        return lambda id, **more: getattr(self.world, verb)(kind, id, **more)


class Identity(Api):
    def domains(self, name: str) -> Iterable[Any]:
        return [SimpleNamespace(id="default", name=name)]

    def projects(self, name: str, domain_id: str) -> Iterable[Any]:
        return self._mine("project", name=name, domain_id=domain_id)

    def users(self, name: str, domain_id: str) -> Iterable[Any]:
        return self._mine("user", name=name, domain_id=domain_id)

    def create_project(self, **known: Any) -> Any:
        return self.world.create("project", **known, is_enabled=True)

    def create_user(self, password: str, options: Any, **known: Any) -> Any:
        made = self.world.create("user", **known, is_enabled=True)
        self.world.passwords[made.id] = password
        return made

    def find_role(self, name: str, ignore_missing: bool) -> str:
        return name

    def assign_project_role_to_user(self, project: str, user: Any, role: str) -> None:
        self.world.roles.add((project, user.id))

    def role_assignments(self, user_id: str, scope_project_id: str) -> Iterable[Any]:
        has = (scope_project_id, user_id) in self.world.roles
        return [SimpleNamespace(role={"id": "r-member"})] if has else []


class Image(Api):
    def images(self, owner: str = "", name: str = "") -> Iterable[Any]:
        return self._mine("image", **({"owner": owner} if owner else {"name": name}))

    def create_image(self, name: str, **_: Any) -> Any:
        return self.world.create("image", name=name, owner=self.context.project, status="queued")

    def put(self, id: str, data: bytes) -> None:
        self.world.blobs[id] = data
        kept = self.world.things["image"][id]
        kept.status, kept.size, kept.hash_algo = "active", len(data), "sha512"
        kept.hash_value = hashlib.sha512(data).hexdigest()

    def download_image(self, image: Any) -> Any:
        return SimpleNamespace(content=self.world.blobs[image.id])


class Network(Api):
    def networks(self, is_router_external: bool = False, **wanted: Any) -> Iterable[Any]:
        return self._mine("network", **({"is_external": True} if is_router_external else wanted))

    def subnets(self, **wanted: Any) -> Iterable[Any]:
        return self._mine("subnet", **wanted)

    def routers(self, **wanted: Any) -> Iterable[Any]:
        return self._mine("router", **wanted)

    def security_groups(self, **wanted: Any) -> Iterable[Any]:
        return self._mine("security_group", **wanted)

    def ips(self, project_id: str) -> Iterable[Any]:
        return self._mine("ip", project_id=project_id)

    def _make(self, kind: str, **known: Any) -> Any:
        return self.world.create(kind, project_id=self.context.project, **known)

    def create_network(self, **known: Any) -> Any:
        return self._make("network", **known, status="ACTIVE", is_admin_state_up=True)

    def create_subnet(self, **known: Any) -> Any:
        return self._make("subnet", **known, gateway_ip="198.51.100.1", is_dhcp_enabled=True)

    def create_router(self, external_gateway_info: Any, **known: Any) -> Any:
        outside = {**external_gateway_info, "external_fixed_ips": [{"ip_address": "203.0.113.2"}]}
        return self._make("router", **known, status="ACTIVE", external_gateway_info=outside)

    def add_interface_to_router(self, router: Any, subnet_id: str) -> None:
        network = self.world.things["subnet"][subnet_id].network_id
        owner = "network:router_interface"
        self.world.add("port", device_id=router.id, device_owner=owner, network_id=network)

    def remove_interface_from_router(self, router: str, port_id: str) -> None:
        self.world.delete("port", port_id)

    def create_security_group(self, **known: Any) -> Any:
        return self._make("security_group", **known, security_group_rules=[])

    def create_security_group_rule(self, security_group_id: str, **known: Any) -> None:
        group = self.world.things["security_group"][security_group_id]
        rule = {"port_range_min": None, "port_range_max": None, "remote_ip_prefix": None, **known}
        rule["id"], rule["ethertype"] = f"rule-{next(self.world.numbers)}", rule.pop("ether_type")
        group.security_group_rules.append(rule)

    def ports(self, device_id: str) -> Iterable[Any]:
        return self._mine("port", device_id=device_id)

    def create_ip(self, port_id: str, **known: Any) -> Any:
        inside, outside = "198.51.100.4", "203.0.113.9"
        return self._make(
            "ip", **known, port_id=port_id, status="ACTIVE", floating_ip_address=outside,
            fixed_ip_address=inside,
        )  # fmt: skip


class Compute(Api):
    def servers(self) -> Iterable[Any]:
        return self._mine("server", project_id=self.context.project)

    def flavors(self) -> Iterable[Any]:
        return [SimpleNamespace(id="tiny", ram=128, vcpus=1, disk=1)]

    def create_server(self, user_data: str, image_id: str, **known: Any) -> Any:
        made = self.world.create(
            "server", **known, project_id=self.context.project, status="ACTIVE",
            image=SimpleNamespace(id=image_id),
        )  # fmt: skip
        address = [{"ip_address": "198.51.100.4"}]
        self.world.add("port", device_id=made.id, network_id=known["networks"][0]["uuid"],
                       mac_address="fa:16:3e:00:00:01", fixed_ips=address,
                       device_owner="compute:nova")  # fmt: skip
        marker = known["metadata"]["canary"]
        self.world.console[made.id] = [f"guest: user data 33 bytes, marker {marker}"]
        return made

    def delete_server(self, id: str, ignore_missing: bool) -> None:
        self.world.delete("server", id)
        for port in self.world.all("port"):
            if port.device_id == id:
                self.world.delete("port", port.id)

    def get_server_console_output(self, server: Any) -> dict[str, str]:
        return {"output": "\r\n".join(self.world.console.get(server.id, []))}

    def volume_attachments(self, server: str) -> Iterable[Any]:
        return self._mine("attachment", server=server)

    def create_volume_attachment(self, server: str, volume_id: str) -> None:
        self.world.create("attachment", server=server, volume_id=volume_id, device="/dev/vdb")
        volume = self.world.things["volume"][volume_id]
        volume.status, volume.attachments = "in-use", [{"server_id": server}]
        self.world.console[server].append("guest: disk vdb 1024 MiB serial 1")

    def delete_volume_attachment(self, server: str, volume: str, ignore_missing: bool) -> None:
        for one in self._mine("attachment", server=server, volume_id=volume):
            self.world.delete("attachment", one.id)
        if volume in self.world.things["volume"]:
            kept = self.world.things["volume"][volume]
            kept.status, kept.attachments = "available", []


class Storage(Api):
    def volumes(self, all_projects: bool = False) -> Iterable[Any]:
        return self._mine(
            "volume", **({} if all_projects else {"project_id": self.context.project})
        )

    def snapshots(self, volume_id: str, all_projects: bool = False) -> Iterable[Any]:
        return self._mine("snapshot", volume_id=volume_id)

    def create_volume(self, image_id: str = "", snapshot_id: str = "", **known: Any) -> Any:
        made = self.world.create(
            "volume", **known, project_id=self.context.project, status="available",
            attachments=[], volume_type="ceph",
        )  # fmt: skip
        self.world.blobs[made.id] = self.world.blobs[image_id or snapshot_id]
        return made

    def delete_volume(self, id: str, ignore_missing: bool) -> None:
        if id in self.world.things["volume"]:
            assert self.world.things["volume"][id].status == "available"
        self.world.delete("volume", id)

    def create_snapshot(self, volume_id: str, is_forced: bool, **known: Any) -> Any:
        assert is_forced
        made = self.world.create("snapshot", **known, volume_id=volume_id, status="available")
        self.world.blobs[made.id] = self.world.blobs[volume_id]
        return made

    def upload_volume_to_image(
        self, volume: Any, name: str, disk_format: str, container_format: str
    ) -> dict[str, str]:
        assert (disk_format, container_format) == ("qcow2", "bare")
        images = self.context.cloud.image
        made = images.create_image(name)
        images.put(made.id, qcow2(self.world.blobs[volume.id]))
        return {"image_id": made.id}
