"""
Images of the OpenStack image service, by name and checksum.

Needs what ``openstack_api`` needs. An image's data cannot be changed once it is active, so new
content is a new image: :py:func:`publish` uploads it, verifies what the service computed, and then
hides the images of the same name, which stay usable by id for the servers made from them.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from salt.exceptions import CommandExecutionError, SaltInvocationError

try:
    import openstack  # noqa: F401

    HAS_SDK = True
except ImportError:
    HAS_SDK = False

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    __salt__: dict[str, Callable[..., Any]]

#: What a state may manage of an image that exists.
MANAGED = ("visibility", "min_disk", "min_ram", "is_protected")
#: The image schema's own keys; every other key of an image is a property.
SCHEMA = frozenset(
    (
        *("id", "name", "status", "visibility", "protected", "os_hidden", "owner", "tags"),
        *("checksum", "os_hash_algo", "os_hash_value", "size", "virtual_size", "properties"),
        *("container_format", "disk_format", "min_ram", "min_disk", "created_at", "updated_at"),
        *("direct_url", "self", "file", "schema", "location", "locations", "stores"),
    )
)
#: Where the SDK keeps the sum of the file that was uploaded.
SHA256_PROPERTY = "owner_specified.openstack.sha256"


def __virtual__() -> bool | tuple[bool, str]:
    if HAS_SDK:
        return True
    return False, "openstack_image needs openstacksdk in the Python that runs Salt"


def _spoken(doing: str) -> Any:
    return __salt__["openstack_api.spoken"](doing)


def _split(checksum: str) -> tuple[str, str]:
    algorithm, _, digest = checksum.partition("=")
    if algorithm not in ("sha256", "sha512") or not digest:
        raise SaltInvocationError(f"Checksum {checksum!r} is not sha512=<hex> or sha256=<hex>")
    return algorithm, digest.lower()


def _shown(image: Any) -> dict[str, Any]:
    # The SDK puts the properties it knows beside the schema's keys, and the rest in `properties`.
    flat = image.to_dict(computed=False, original_names=True)
    known = {key: value for key, value in flat.items() if key not in SCHEMA and value is not None}
    properties = {**known, **(image.properties or {})}
    return {
        "id": image.id,
        "name": image.name,
        "status": image.status,
        "disk_format": image.disk_format,
        "container_format": image.container_format,
        "checksums": {
            (image.hash_algo or "none"): image.hash_value,
            "sha256": properties.get(SHA256_PROPERTY),
        },
        "properties": {k: v for k, v in properties.items() if not k.startswith("owner_specified.")},
        **{key: getattr(image, key) for key in MANAGED},
    }


def images(name: str, cloud: str = "admin") -> list[dict[str, Any]]:
    """
    Return the images of a name that are not hidden, newest first.

    CLI Example:

    .. code-block:: bash

        salt cfg01 openstack_image.images cirros

    name
        Name of the image.
    cloud
        Entry of clouds.yaml.

    :raises CommandExecutionError: the API cannot be asked
    """
    conn = __salt__["openstack_api.connection"](cloud)
    with _spoken(f"look up image {name!r}"):
        return [_shown(item) for item in conn.image.images(name=name, sort="created_at:desc")]


def matches(image: Mapping[str, Any], checksum: str) -> bool:
    """
    Tell whether an image of :py:func:`images` is active and holds the content asked for.

    CLI Example:

    .. code-block:: bash

        salt cfg01 openstack_image.matches '{status: queued}' sha512=cf83e1357eefb8bd…

    image
        A mapping that :py:func:`images` returned.
    checksum
        ``sha512=<hex>`` or ``sha256=<hex>``.
    """
    algorithm, digest = _split(checksum)
    return image["status"] == "active" and image.get("checksums", {}).get(algorithm) == digest


def publish(
    name: str,
    path: str,
    checksum: str,
    fields: Mapping[str, Any],
    replaces: tuple[str, ...] | list[str] = (),
    cloud: str = "admin",
) -> dict[str, Any]:
    """
    Upload a file as a new image, verify it, and hide the images that it replaces.

    CLI Example:

    .. code-block:: bash

        salt cfg01 openstack_image.publish cirros /root/cirros.img sha512=… '{disk_format: qcow2}'

    name
        Name of the image.
    path
        A file on this host. It is hashed first and refused when it is not the one asked for.
    checksum
        ``sha512=<hex>`` or ``sha256=<hex>`` of the file.
    fields
        ``disk_format``, ``container_format``, ``visibility``, ``min_disk``, ``min_ram``,
        ``is_protected`` and ``properties``.
    replaces
        Ids of images to hide once the new one is active. One that never got its data is deleted.
    cloud
        Entry of clouds.yaml.

    :raises CommandExecutionError: wrong content, a refused upload, or another sum read back; what
        was uploaded is then removed again
    """
    algorithm, digest = _split(checksum)
    sums = {"sha256": hashlib.sha256(), "sha512": hashlib.sha512()}
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                for one in sums.values():
                    one.update(block)
    except OSError as err:
        raise CommandExecutionError(f"{path} cannot be read: {err.strerror}") from None
    if sums[algorithm].hexdigest() != digest:
        raise CommandExecutionError(
            f"{path} has {algorithm} {sums[algorithm].hexdigest()}, not {digest} as asked"
        )
    conn = __salt__["openstack_api.connection"](cloud)
    given = dict(fields)
    meta = {**given.pop("properties", {}), **{k: given.pop(k) for k in MANAGED if k in given}}
    with _spoken(f"upload image {name!r}"):
        made = conn.image.create_image(
            name,
            filename=path,
            sha256=sums["sha256"].hexdigest(),
            allow_duplicates=True,
            disable_vendor_agent=False,
            meta=meta,
            **given,
        )
        made = conn.image.get_image(made)
    if made.status != "active" or made.hash_value != sums["sha512"].hexdigest():
        with _spoken(f"remove the failed upload of image {name!r}"):
            conn.image.update_image(made, is_protected=False)
            conn.image.delete_image(made)
        raise CommandExecutionError(
            f"Image {name!r} read back as {made.status} with {made.hash_algo} {made.hash_value},"
            f" not active with sha512 {sums['sha512'].hexdigest()}; it was removed again"
        )
    with _spoken(f"hide the images that the new {name!r} replaces"):
        for old in replaces:
            image = conn.image.get_image(old)
            if image.status == "queued":
                conn.image.delete_image(image)
            else:
                conn.image.update_image(image, is_hidden=True)
    return _shown(made)


def update(image_id: str, fields: Mapping[str, Any], cloud: str = "admin") -> dict[str, Any]:
    """
    Write fields of an image and return it.

    CLI Example:

    .. code-block:: bash

        salt cfg01 openstack_image.update 1c7c4dca-… '{visibility: public}'

    image_id
        Id of the image.
    fields
        ``visibility``, ``min_disk`` (GiB), ``min_ram`` (MiB), ``is_protected``, ``properties``.
    cloud
        Entry of clouds.yaml.

    :raises CommandExecutionError: the API refuses
    """
    conn = __salt__["openstack_api.connection"](cloud)
    given = dict(fields)
    with _spoken(f"update image {image_id}"):
        return _shown(conn.image.update_image(image_id, **given.pop("properties", {}), **given))


def delete(image_id: str, cloud: str = "admin") -> bool:
    """
    Delete an image. A protected one is refused by the service.

    CLI Example:

    .. code-block:: bash

        salt cfg01 openstack_image.delete 1c7c4dca-…

    image_id
        Id of the image.
    cloud
        Entry of clouds.yaml.

    :raises CommandExecutionError: the API refuses
    """
    conn = __salt__["openstack_api.connection"](cloud)
    with _spoken(f"delete image {image_id}"):
        conn.image.delete_image(image_id)
    return True
