"""The canary of Nova: a server that knows who it is."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, ClassVar

import openstack.exceptions

from saltern.canary.network import server_port
from saltern.canary.types import DATA, REPLACED, STATE, Canary, CanaryError
from saltern.canary.work import PROJECT, USER, Kind, Work, named
from saltern.sanity import guest, waiting

#: Key of the mark in the server's metadata.
KEY = "canary"
#: What the guest says of its user data, and of a disk that it sees.
USER_DATA, DISK = "guest: user data", "guest: disk vdb"


class Server(Kind):
    """A server of the guest's image and the smallest flavor."""

    name = "server"
    service = "compute"
    needs = (PROJECT, USER, "network", "subnet", "router", "security group")
    seconds = 300.0
    codes: ClassVar[Mapping[str, str]] = {"image": REPLACED, "port": REPLACED, "mark": DATA}
    wanted = "ACTIVE"

    def find(self, work: Work) -> Any:
        """Find it by name among the project's."""
        return named(work.mine.cloud.compute.servers(), Canary(self.name).name)

    def make(self, work: Work) -> Any:
        """Start it, with the mark in its metadata and its user data."""
        return work.mine.cloud.compute.create_server(
            name=Canary(self.name).name,
            image_id=guest.image(work.mine).id,
            flavor_id=guest.flavor(work.mine).id,
            networks=[{"uuid": work.id("network")}],
            security_groups=[{"name": work.id("security group")}],
            metadata={KEY: work.flock.mark},
            user_data=base64.b64encode(f"{work.flock.mark}\n".encode()).decode(),
        )

    def ready(self, work: Work, found: Any) -> Any:
        """Wait until it runs, and until the guest has read its user data."""
        api = work.mine.cloud.compute
        whole = waiting.status(work.mine, "it", lambda: api.get_server(found.id), self.wanted)
        guest.told(work.mine, whole, f"marker {work.flock.mark}")
        return whole

    def get(self, work: Work, id: str) -> Any:
        """Read it."""
        return work.mine.cloud.compute.get_server(id)

    def facts(self, work: Work, found: Any) -> dict[str, Any]:
        """When it was made and of what; its port, with both addresses."""
        port = server_port(work, found.id)
        return {
            "created": found.created_at,
            "image": getattr(found.image, "id", None),
            "mark": (found.metadata or {}).get(KEY),
            "port": port.id,
            "MAC address": port.mac_address,
            "address": port.fixed_ips[0]["ip_address"] if port.fixed_ips else None,
        }

    def check(self, work: Work, canary: Canary, found: Any) -> str:
        """The guest on its console is the one that was started, where the console still tells."""
        lines = [line for line in guest.said(work.mine, found) if USER_DATA in line]
        if any(not line.endswith(f"marker {work.flock.mark}") for line in lines[-1:]):
            raise CanaryError(DATA, f"its guest says {lines[-1]!r}, not its marker")
        marked = "with its marker" if lines else "its console does not tell of the boot any more"
        return f"runs, {canary.facts['address']} inside, {marked}"

    def delete(self, work: Work, id: str) -> None:
        """Remove it."""
        api = work.hand.cloud.compute
        api.delete_server(id, ignore_missing=True)
        waiting.gone(work.hand, f"server {id}", lambda: api.get_server(id))


class Attachment(Kind):
    """The volume, attached to the server. Its id is the volume's, as Nova's API has it."""

    name = "attachment"
    service = "compute"
    needs = (PROJECT, USER, "server", "volume")
    seconds = 120.0

    def find(self, work: Work) -> Any:
        """Find it among the server's."""
        found = work.mine.cloud.compute.volume_attachments(work.id("server"))
        here = next((one for one in found if one.volume_id == work.id("volume")), None)
        if here is not None:
            here.id = here.volume_id
        return here

    def make(self, work: Work) -> Any:
        """Attach the volume."""
        compute = work.mine.cloud.compute
        compute.create_volume_attachment(work.id("server"), volume_id=work.id("volume"))
        return waiting.wait(work.mine, "the server does not list it", lambda: self.find(work))

    def ready(self, work: Work, found: Any) -> Any:
        """Wait until Cinder says so and the guest sees the disk."""
        storage = work.mine.cloud.block_storage
        volume = work.id("volume")
        waiting.status(work.mine, "the volume", lambda: storage.get_volume(volume), "IN-USE")
        server = work.mine.cloud.compute.get_server(work.id("server"))
        guest.told(work.mine, server, DISK)
        return self.find(work)

    def get(self, work: Work, id: str) -> Any:
        """Find it, or raise as for other things that are not there."""
        found = self.find(work)
        if found is None:
            raise openstack.exceptions.NotFoundException("the server does not list the volume")
        return found

    def facts(self, work: Work, found: Any) -> dict[str, Any]:
        """Which device of the server; and whom Cinder believes to have it."""
        volume = work.mine.cloud.block_storage.get_volume(found.volume_id)
        return {
            "device": found.device,
            "servers by Cinder": sorted({one["server_id"] for one in volume.attachments}),
        }

    def check(self, work: Work, canary: Canary, found: Any) -> str:
        """The guest has not seen the disk go, where its console still tells."""
        if canary.facts["servers by Cinder"] != [work.id("server")]:
            raise CanaryError(STATE, "Cinder never had it attached to the server alone")
        server = work.mine.cloud.compute.get_server(work.id("server"))
        lines = [line for line in guest.said(work.mine, server) if DISK in line]
        if lines and lines[-1].endswith("is gone"):
            raise CanaryError(STATE, "the guest saw its disk go")
        seen = ", seen by the guest" if lines else ""
        return f"attached as {found.device}{seen}"

    def delete(self, work: Work, id: str) -> None:
        """Detach the volume."""
        if not work.canaries.get("server", Canary("server")).id:
            return
        api, storage = work.hand.cloud.compute, work.hand.cloud.block_storage
        api.delete_volume_attachment(work.id("server"), id, ignore_missing=True)

        def loose() -> bool:
            try:
                return not storage.get_volume(id).attachments
            except openstack.exceptions.NotFoundException:
                return True

        waiting.wait(work.hand, "the volume is still attached", loose)
