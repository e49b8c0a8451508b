"""Canaries that keep data: a volume of Cinder, and an object in a store that speaks S3."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, ClassVar

import keystoneauth1.exceptions

from saltern.canary import content
from saltern.canary.identity import signer
from saltern.canary.image import SIZE as WRITTEN
from saltern.canary.types import DATA, REPLACED, STATE, UNKNOWN, Canary, CanaryError
from saltern.canary.work import PROJECT, USER, Kind, Work, named
from saltern.sanity import waiting
from saltern.sanity.s3 import request

#: What a proof makes for a moment is called this; no canary is.
PROOF = "canary-proof"
#: Bytes of the uploaded volume that are fetched: more than what was written and its tables.
LIMIT = 8 << 20
#: Seconds to remove what a proof made, after its own time.
CLEAN_UP = 60.0
#: Bytes of the object.
SIZE = 100_000


class Volume(Kind):
    """A volume of 1 GiB, made of the image: so its first bytes are known."""

    name = "volume"
    service = "block-storage"
    needs = (PROJECT, USER, "image")
    seconds = 300.0

    def find(self, work: Work) -> Any:
        """Find it by name among the project's."""
        return named(work.mine.cloud.block_storage.volumes(), Canary(self.name).name)

    def make(self, work: Work) -> Any:
        """Make it of the image."""
        return work.mine.cloud.block_storage.create_volume(
            name=Canary(self.name).name,
            description=work.described(self.name),
            size=1,
            image_id=work.id("image"),
        )

    def ready(self, work: Work, found: Any) -> Any:
        """Wait until it is available, or in use already."""
        api = work.mine.cloud.block_storage
        now = api.get_volume(found.id)
        if str(now.status).upper() == "IN-USE":
            return now
        return waiting.status(work.mine, "it", lambda: api.get_volume(found.id), "AVAILABLE")

    def get(self, work: Work, id: str) -> Any:
        """Read it."""
        return work.mine.cloud.block_storage.get_volume(id)

    def facts(self, work: Work, found: Any) -> dict[str, Any]:
        """When it was made, size, type."""
        return {"created": found.created_at, "GiB": found.size, "type": found.volume_type}

    def check(self, work: Work, canary: Canary, found: Any) -> str:
        """Its status fits the attachment's, and its data is what was written."""
        attached = work.canaries.get("attachment")
        wanted = "IN-USE" if attached is not None and attached.id else "AVAILABLE"
        held = str(found.status).upper()
        if held != wanted:
            raise CanaryError(STATE, f"its status is {held}, not {wanted}")
        differs = content.same_disk(_read(work, found), work.data("image", WRITTEN))
        if differs:
            raise CanaryError(DATA, f"its content {differs}")
        return f"{wanted.lower()}, {WRITTEN >> 10} KiB read back through a snapshot and compared"

    def delete(self, work: Work, id: str) -> None:
        """Remove it, and what a proof that was ended left of it."""
        api = work.hand.cloud.block_storage
        _sweep(work, id)
        api.delete_volume(id, ignore_missing=True)
        waiting.gone(work.hand, f"volume {id}", lambda: api.get_volume(id))


def _read(work: Work, volume: Any) -> bytes:
    """Return a volume as QCOW2, which leaves zeros out; it may be in use meanwhile.

    Cinder uploads no volume that is in use, so it is one made of a snapshot that is uploaded.

    :raises CanaryError: the cloud does not bring it
    """
    api, images = work.mine.cloud.block_storage, work.mine.cloud.image
    _sweep(work, volume.id)
    with contextlib.ExitStack() as undo:
        undo.callback(_swept, work, volume.id)
        shot = api.create_snapshot(name=PROOF, volume_id=volume.id, is_forced=True)
        waiting.status(work.mine, "the snapshot", lambda: api.get_snapshot(shot.id), "AVAILABLE")
        copy = api.create_volume(name=PROOF, size=volume.size, snapshot_id=shot.id)

        def look() -> Any:
            return api.get_volume(copy.id)

        waiting.status(work.mine, "the copy", look, "AVAILABLE")
        sent = api.upload_volume_to_image(copy, PROOF, disk_format="qcow2", container_format="bare")
        # Cinder says so of the volume at once, and takes it back when the upload is over
        waiting.status(work.mine, "the copy", look, "AVAILABLE")
        image = images.get_image(sent["image_id"])
        if image.status != "active":
            raise CanaryError(UNKNOWN, f"the copy was not uploaded: the image is {image.status}")
        if image.size > LIMIT:
            raise CanaryError(DATA, f"its content has {image.size} bytes, more than was written")
        return bytes(images.download_image(image).content)


def _swept(work: Work, volume: str) -> None:
    """Remove what a proof made, in a time of its own; what stays goes with the next one."""
    work.within(CLEAN_UP)
    with contextlib.suppress(Exception):
        _sweep(work, volume)


def _sweep(work: Work, volume: str) -> None:
    """Remove images, copies and snapshots of proofs, and wait: each hangs on the one after it."""
    hand = work.hand
    api, images = hand.cloud.block_storage, hand.cloud.image
    for image in [one for one in images.images(owner=work.id(PROJECT)) if one.name == PROOF]:
        images.delete_image(image.id, ignore_missing=True)
    # an administrator sees those of another project when it asks for all
    everywhere = {"all_projects": True} if hand is work.admin else {}
    for copy in [one for one in api.volumes(**everywhere) if one.name == PROOF]:
        if copy.project_id == work.id(PROJECT):
            _delete_when_idle(work, copy.id)
    shots = api.snapshots(volume_id=volume, **everywhere)
    for shot in [one for one in shots if one.name == PROOF]:
        api.delete_snapshot(shot.id, ignore_missing=True)
        waiting.gone(hand, "the snapshot", functools.partial(api.get_snapshot, shot.id))


def _delete_when_idle(work: Work, id: str) -> None:
    """Delete a copy; Cinder refuses while it is made or uploaded."""
    api = work.hand.cloud.block_storage

    def idle() -> bool:
        status = str(api.get_volume(id).status).lower()
        return status in ("available", "deleting") or status.startswith("error")

    waiting.wait(work.hand, "the copy is still in use", idle)
    api.delete_volume(id, ignore_missing=True)
    waiting.gone(work.hand, "the copy", lambda: api.get_volume(id))


class Object(Kind):
    """An object in a bucket, put and read with the credential."""

    name = "object"
    service = "s3"
    needs = (PROJECT, USER, "credential")
    codes: ClassVar[Mapping[str, str]] = {"ETag": DATA, "time of its last change": REPLACED}

    def _ask(self, work: Work, method: str, id: str, body: bytes = b"") -> Any:
        url = f"{work.mine.endpoint('s3').rstrip('/')}/{id}"
        return request(work.mine.session, signer(work), method, url, body)

    def _id(self, work: Work) -> str:
        return f"canary-{work.flock.seed}/object"

    def find(self, work: Work) -> Any:
        """Find it where it would be."""
        try:
            return self.get(work, self._id(work))
        except keystoneauth1.exceptions.NotFound:
            return None

    def make(self, work: Work) -> Any:
        """Make the bucket, then the object."""
        id = self._id(work)
        self._ask(work, "PUT", id.partition("/")[0])
        self._ask(work, "PUT", id, work.data(self.name, SIZE))
        return self.get(work, id)

    def get(self, work: Work, id: str) -> Any:
        """Fetch it, whole."""
        answer = self._ask(work, "GET", id)
        headers = answer.headers
        return SimpleNamespace(
            id=id,
            content=bytes(answer.content),
            etag=headers.get("ETag"),
            changed=headers.get("Last-Modified"),
        )

    def facts(self, work: Work, found: Any) -> dict[str, Any]:
        """Its ETag, and when it was last written."""
        return {"ETag": found.etag, "time of its last change": found.changed}

    def check(self, work: Work, canary: Canary, found: Any) -> str:
        """Its content is what was put."""
        if found.content != work.data(self.name, SIZE):
            raise CanaryError(DATA, f"its content differs from the {SIZE} bytes that were put")
        return f"{SIZE // 1000} kB got and compared"

    def delete(self, work: Work, id: str) -> None:
        """Remove it and its bucket."""
        for one in (id, id.partition("/")[0]):
            with contextlib.suppress(keystoneauth1.exceptions.NotFound):
                self._ask(work, "DELETE", one)
