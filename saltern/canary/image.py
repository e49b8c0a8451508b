"""The canary of Glance: an image whose content and checksum are known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import openstack.exceptions

from saltern.canary.types import DATA, Canary, CanaryError
from saltern.canary.work import PROJECT, USER, Kind, Work, named
from saltern.sanity import waiting
from saltern.sanity.client import sentence

#: Bytes; a volume is made of it too.
SIZE = 1 << 20


class Image(Kind):
    """A private raw image."""

    name = "image"
    service = "image"
    needs = (PROJECT, USER)
    seconds = 120.0
    codes: ClassVar[Mapping[str, str]] = {"checksum": DATA, "size": DATA}
    wanted = "ACTIVE"

    def find(self, work: Work) -> Any:
        """Find it by name among the project's."""
        found = work.mine.cloud.image.images(owner=work.id(PROJECT))
        return named(found, Canary(self.name).name)

    def make(self, work: Work) -> Any:
        """Make it empty; it is filled in a second step."""
        return work.mine.cloud.image.create_image(
            Canary(self.name).name,
            container_format="bare",
            disk_format="raw",
            allow_duplicates=True,
            disable_vendor_agent=False,
            meta={"visibility": "private", "saltern_canary": work.flock.seed},
        )

    def ready(self, work: Work, found: Any) -> Any:
        """Fill it, and wait until it is active."""
        api = work.mine.cloud.image
        if found.status == "queued":
            found.data = work.data(self.name, SIZE)
            found.upload(api)
        return waiting.status(work.mine, "it", lambda: api.get_image(found.id), self.wanted)

    def get(self, work: Work, id: str) -> Any:
        """Read it."""
        return work.mine.cloud.image.get_image(id)

    def facts(self, work: Work, found: Any) -> dict[str, Any]:
        """When it was made, checksum, size."""
        return {
            "created": found.created_at,
            "checksum": f"{found.hash_algo}={found.hash_value}",
            "size": found.size,
        }

    def check(self, work: Work, canary: Canary, found: Any) -> str:
        """Its content is what was uploaded."""
        try:
            content = work.mine.cloud.image.download_image(found).content
        except openstack.exceptions.NotFoundException:
            raise CanaryError(DATA, "its content is not there any more") from None
        except openstack.exceptions.InvalidResponse as err:  # the SDK compares the checksum
            raise CanaryError(DATA, f"its content differs: {sentence(err)}") from None
        if content != work.data(self.name, SIZE):
            raise CanaryError(DATA, f"its content differs from the {SIZE} bytes uploaded")
        return f"{SIZE >> 10} KiB downloaded and compared"

    def delete(self, work: Work, id: str) -> None:
        """Remove it."""
        api = work.hand.cloud.image
        api.delete_image(id, ignore_missing=True)
        waiting.gone(work.hand, f"image {id}", lambda: api.get_image(id))
