"""
Images of the OpenStack image service, kept as asked: compared by checksum, read back.

The calls are those of the execution module ``openstack_image``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from salt.exceptions import CommandExecutionError, SaltInvocationError

if TYPE_CHECKING:
    from collections.abc import Callable

    __env__: str
    __opts__: dict[str, Any]
    __salt__: dict[str, Callable[..., Any]]


def __virtual__() -> bool | tuple[bool, str]:
    if "openstack_image.images" in __salt__:
        return True
    return False, "openstack_image needs its execution module, which needs openstacksdk"


def _ret(name: str, result: bool | None, comment: str, changes: Any = None) -> dict[str, Any]:
    return {"name": name, "result": result, "comment": comment, "changes": changes or {}}


def _failure(name: str, err: Exception) -> dict[str, Any]:
    """In test mode, what an earlier step of the same run would cure is a prediction."""
    if __opts__["test"] and getattr(err, "pending", False):
        changes = {name: {"old": "unknown", "new": "as asked"}}
        return _ret(name, None, f"It would be looked at then. Now: {err}.", changes)
    return _ret(name, False, f"{str(err).rstrip('.')}.")


def present(
    name: str,
    source: str,
    checksum: str,
    disk_format: str = "raw",
    container_format: str = "bare",
    visibility: str | None = None,
    min_disk: int | None = None,
    min_ram: int | None = None,
    is_protected: bool | None = None,
    properties: dict[str, str] | None = None,
    cloud: str = "admin",
) -> dict[str, Any]:
    """
    Keep an image of this content. Other content under the same name is hidden, not deleted.

    name
        Name of the image.
    source
        Where the file is: a path on this host, ``salt://`` or ``https://``. It is fetched only
        when an upload is needed.
    checksum
        ``sha512=<hex>`` or ``sha256=<hex>`` of the file.
    disk_format, container_format
        Fixed when the image is made.
    visibility, is_protected, properties
        Managed when given; properties that are not named are left alone.
    min_disk, min_ram
        GiB and MiB; managed when given.
    cloud
        Entry of clouds.yaml.
    """
    try:
        return _present(
            name,
            source,
            checksum,
            {"disk_format": disk_format, "container_format": container_format},
            {
                "visibility": visibility,
                "min_disk": min_disk,
                "min_ram": min_ram,
                "is_protected": is_protected,
                "properties": properties,
            },
            cloud,
        )
    except (CommandExecutionError, SaltInvocationError) as err:
        return _failure(name, err)


def _present(
    name: str,
    source: str,
    checksum: str,
    formats: dict[str, str],
    fields: dict[str, Any],
    cloud: str,
) -> dict[str, Any]:
    wanted = {key: value for key, value in fields.items() if value is not None}
    found = __salt__["openstack_image.images"](name, cloud=cloud)
    good = [one for one in found if __salt__["openstack_image.matches"](one, checksum)]
    if len(good) > 1:
        ids = ", ".join(one["id"] for one in good)
        return _ret(name, False, f"{len(good)} images are {name} with this content: {ids}.")
    if not good:
        return _upload(name, source, checksum, {**formats, **wanted}, found, cloud)

    changes = _differences(good[0], wanted)
    if not changes:
        return _ret(name, True, f"The image {name} is as asked.")
    if __opts__["test"]:
        return _ret(name, None, f"The image {name} would be updated.", changes)
    __salt__["openstack_image.update"](good[0]["id"], wanted, cloud=cloud)
    return _read_back(name, checksum, wanted, changes, "updated", cloud)


def _differences(image: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    old = {**image, **{f"property {key}": value for key, value in image["properties"].items()}}
    new = {key: value for key, value in wanted.items() if key != "properties"}
    new.update({f"property {key}": v for key, v in wanted.get("properties", {}).items()})
    return {
        key: {"old": old.get(key), "new": value}
        for key, value in new.items()
        if old.get(key) != value
    }


def _upload(
    name: str,
    source: str,
    checksum: str,
    fields: dict[str, Any],
    found: list[dict[str, Any]],
    cloud: str,
) -> dict[str, Any]:
    busy = [one["id"] for one in found if one["status"] in ("saving", "importing", "uploading")]
    if busy:
        return _ret(name, False, f"The image {name} is being uploaded already: {busy[0]}.")
    old = [one["checksums"] for one in found] or "absent"
    changes = {"content": {"old": old, "new": checksum}}
    if __opts__["test"]:
        return _ret(name, None, f"The image {name} would be uploaded from {source}.", changes)
    path, fetched = source, False
    if not source.startswith("/"):
        path = __salt__["cp.cache_file"](source, saltenv=globals().get("__env__", "base"))
        fetched = True
        if not path:
            return _ret(name, False, f"{source} cannot be fetched.")
    try:
        ids = [one["id"] for one in found]
        __salt__["openstack_image.publish"](name, path, checksum, fields, ids, cloud=cloud)
    finally:
        if fetched and os.path.exists(path):
            os.unlink(path)  # images are large, and this copy has served
    wanted = {k: v for k, v in fields.items() if k not in ("disk_format", "container_format")}
    return _read_back(name, checksum, wanted, changes, "uploaded", cloud)


def _read_back(
    name: str,
    checksum: str,
    wanted: dict[str, Any],
    changes: dict[str, Any],
    done: str,
    cloud: str,
) -> dict[str, Any]:
    found = __salt__["openstack_image.images"](name, cloud=cloud)
    good = [one for one in found if __salt__["openstack_image.matches"](one, checksum)]
    left = sorted(_differences(good[0], wanted)) if good else ["content"]
    if left:
        what = ", ".join(left)
        sentence = f"The image {name} was {done}, but reads back different: {what}."
        return _ret(name, False, sentence, changes)
    return _ret(name, True, f"The image {name} was {done}.", changes)


def absent(name: str, cloud: str = "admin") -> dict[str, Any]:
    """
    Delete every image of a name that is not hidden.

    name
        Name of the image.
    cloud
        Entry of clouds.yaml.
    """
    try:
        found = __salt__["openstack_image.images"](name, cloud=cloud)
        if not found:
            return _ret(name, True, f"The image {name} is absent.")
        changes = {one["id"]: {"old": one["status"], "new": "absent"} for one in found}
        if __opts__["test"]:
            return _ret(name, None, f"The image {name} would be deleted.", changes)
        for one in found:
            __salt__["openstack_image.delete"](one["id"], cloud=cloud)
        if __salt__["openstack_image.images"](name, cloud=cloud):
            return _ret(name, False, f"The image {name} was deleted, but is still there.")
        return _ret(name, True, f"The image {name} was deleted.", changes)
    except (CommandExecutionError, SaltInvocationError) as err:
        return _failure(name, err)
