"""The checks: what a role must be able to do for a user.

A check is a row of :data:`CHECKS`: a cluster that has the role gets the check. It returns what it
saw in a few words, and raises when it saw something else. What it makes it registers with
``Context.undo`` at once, so that nothing stays however it ends; what a killed run left is removed
by the next one.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import keystoneauth1.exceptions

from saltern.sanity import dashboard, instance, objectstore
from saltern.sanity.client import PREFIX, CheckError, Context, is_leftover

#: Bytes of the image that is uploaded.
IMAGE_BYTES = 300_000


@dataclass(frozen=True)
class Check:
    """One check.

    :param name: what it proves, in a word or two
    :param role: the role that makes it apply
    :param run: ``run(context, member)``; ``member`` is empty unless ``each``
    :param seconds: how long it may take
    :param each: once for every member of the role, past the load balancer
    :param unless: a role whose own check does this, too
    :param beside: it waits more than it works, so it runs beside the others
    """

    name: str
    role: str
    run: Callable[[Context, str], str]
    seconds: float = 30.0
    each: bool = False
    unless: str = ""
    beside: bool = False


def _expect(held: object, wanted: object, what: str) -> None:
    if held != wanted:
        raise CheckError(f"{what} is {held!r}, not {wanted!r}")


def _swept(count: int) -> str:
    return f"; removed {count} left by an earlier run" if count else ""


def _sweep(found: Iterable[Any], delete: Callable[[Any], object]) -> int:
    """Delete what earlier runs left; returns how many."""
    old = [item for item in found if is_leftover(item.name, time.time())]
    for item in old:
        delete(item)
    return len(old)


def _validate(context: Context, url: str, token: str) -> str:
    """Validate a token at ``url`` with itself; returns the user's name."""
    answer = context.session.get(
        f"{url}/auth/tokens?nocatalog",
        headers={"X-Auth-Token": token, "X-Subject-Token": token},
        authenticated=False,
    )
    return str(answer.json()["token"]["user"]["name"])


def _issue(context: Context, url: str) -> str:
    auth = context.password(url, include_catalog=False)
    return str(auth.get_token(context.session) or "")


def token(context: Context, member: str) -> str:
    """Issue a token and validate it: on one member directly, or through the virtual address.

    A member must also accept what every other member issues: they share their keys.
    """
    who = context.target.credentials.username
    url = context.target.direct_url(member) if member else context.target.credentials.url
    begin = time.monotonic()
    _expect(_validate(context, url, _issue(context, url)), who, "the token's user")
    seconds = time.monotonic() - begin
    others = [one for one in context.target.members["keystone.server"] if member and one != member]
    accepted = 0
    for other in others:
        try:
            foreign = _issue(context, context.target.direct_url(other))
        except keystoneauth1.exceptions.ClientException:
            continue  # that member's own row says so
        try:
            _expect(_validate(context, url, foreign), who, f"the user of the token of {other}")
        except keystoneauth1.exceptions.ClientException as err:
            raise CheckError(f"a token of {other} is not accepted ({err})") from None
        accepted += 1
    also = f", and {accepted} from other members accepted" if others else ""
    return f"issued and validated in {seconds:.2f} s{also}"


def project(context: Context, _: str) -> str:
    """Create, list and delete a project."""
    identity = context.cloud.identity
    swept = _sweep(
        identity.projects(name__startswith=PREFIX, allow_unknown_params=True),
        identity.delete_project,
    )
    domain = _domain_id(context)
    name = context.name()
    made = identity.create_project(name=name, domain_id=domain, description="Sanity check")
    context.undo(f"project {name}", lambda: identity.delete_project(made))
    listed = [one.id for one in identity.projects(name=name, domain_id=domain)]
    _expect(listed, [made.id], "the list of projects of that name")
    identity.delete_project(made, ignore_missing=False)
    listed = [one.id for one in identity.projects(name=name, domain_id=domain)]
    _expect(listed, [], "the list of projects after the deletion")
    return f"created, listed and deleted{_swept(swept)}"


def user(context: Context, _: str) -> str:
    """Create, list and delete a user, who can authenticate in between."""
    identity = context.cloud.identity
    swept = _sweep(
        identity.users(name__startswith=PREFIX, allow_unknown_params=True), identity.delete_user
    )
    domain = _domain_id(context)
    name, password = context.name(), secrets.token_urlsafe(24)
    made = identity.create_user(name=name, domain_id=domain, password=password)
    context.undo(f"user {name}", lambda: identity.delete_user(made))
    listed = [one.id for one in identity.users(name=name, domain_id=domain)]
    _expect(listed, [made.id], "the list of users of that name")
    own = context.password(
        context.target.credentials.url,
        username=name,
        password=password,
        project_name=None,
        project_domain_name=None,
        unscoped=True,
    )
    own_token = str(own.get_token(context.session) or "")
    _expect(_validate(context, context.target.credentials.url, own_token), name, "the token's user")
    identity.delete_user(made, ignore_missing=False)
    listed = [one.id for one in identity.users(name=name, domain_id=domain)]
    _expect(listed, [], "the list of users after the deletion")
    return f"created, authenticated, listed and deleted{_swept(swept)}"


def _domain_id(context: Context) -> str:
    name = context.target.credentials.project_domain
    found = [one.id for one in context.cloud.identity.domains(name=name)]
    _expect(len(found), 1, f"the number of domains called {name}")
    return str(found[0])


def _shared_store(context: Context) -> bool:
    """Tell whether new images go to a store that all members of Glance have."""
    url = f"{_image_url(context)}/v2/info/stores/detail"
    stores = context.session.get(url).json()["stores"]
    kinds = [store["type"] for store in stores if store.get("default")]
    _expect(len(kinds), 1, "the number of default stores")
    return bool(kinds[0] != "file")


def _image_url(context: Context) -> str:
    return context.endpoint("image").rstrip("/")


def image(context: Context, _: str) -> str:
    """Upload an image of random content, download it and compare.

    Where the store is shared, each member must bring it, past the load balancer.
    """
    glance = context.cloud.image
    swept = _sweep(glance.images(owner=context.cloud.current_project_id), glance.delete_image)
    name, data = context.name(), secrets.token_bytes(IMAGE_BYTES)
    made = glance.create_image(
        name,
        container_format="bare",
        disk_format="raw",
        allow_duplicates=True,
        disable_vendor_agent=False,
        meta={"visibility": "private"},
        # made and filled in two steps, so that a failed upload is removed too
    )
    context.undo(f"image {name}", lambda: glance.delete_image(made))
    made.data = data
    made.upload(glance)
    held = glance.get_image(made)
    _expect(held.status, "active", "the image's status")
    digest = hashlib.new(held.hash_algo or "sha512", data).hexdigest()
    _expect(held.hash_value, digest, f"the image's {held.hash_algo}")
    if glance.download_image(made).content != data:
        raise CheckError(f"the downloaded image differs from the {IMAGE_BYTES} bytes uploaded")
    members = context.target.members["glance.server"] if _shared_store(context) else ()
    parts = urlsplit(_image_url(context))
    for member in members:
        direct = parts._replace(netloc=f"{member}:{parts.port or 443}").geturl()
        try:
            content = context.session.get(f"{direct}/v2/images/{made.id}/file").content
        except keystoneauth1.exceptions.ClientException as err:
            raise CheckError(f"{member} does not bring the image ({err})") from None
        if content != data:
            raise CheckError(f"what {member} brings differs from the {IMAGE_BYTES} bytes uploaded")
    glance.delete_image(made, ignore_missing=False)
    listed = [one.id for one in glance.images(name=name)]
    _expect(listed, [], "the list of images after the deletion")
    also = f", from each of {len(members)} members too" if members else ""
    return f"{IMAGE_BYTES // 1000} kB uploaded, downloaded{also}, compared, deleted{_swept(swept)}"


def inventory(context: Context, _: str) -> str:
    """Create a resource provider with an inventory, read it back and delete it."""
    placement = context.cloud.placement
    swept = _sweep(placement.resource_providers(), placement.delete_resource_provider)
    name = context.name()
    made = placement.create_resource_provider(name=name)
    context.undo(f"resource provider {name}", lambda: placement.delete_resource_provider(made))
    placement.create_resource_provider_inventory(
        made, "VCPU", total=4, resource_provider_generation=made.generation
    )
    held = {one.resource_class: one.total for one in placement.resource_provider_inventories(made)}
    _expect(held, {"VCPU": 4}, "the inventory")
    placement.delete_resource_provider(made, ignore_missing=False)
    listed = [one.id for one in placement.resource_providers(name=name)]
    _expect(listed, [], "the list of resource providers after the deletion")
    return f"provider and inventory created, read back and deleted{_swept(swept)}"


CHECKS = (
    Check("token", "keystone.server", token, each=True),
    Check("token", "keystone.server", token),
    Check("project", "keystone.server", project),
    Check("user", "keystone.server", user),
    Check("image", "glance.server", image, seconds=60.0),
    Check("inventory", "placement.server", inventory),
    # a server has all of it
    Check("network", "neutron.server", instance.network, seconds=90.0, unless="nova.compute"),
    Check("volume", "cinder.volume", instance.volume, seconds=60.0),
    Check("stack", "heat.server", instance.stack, seconds=90.0),
    Check("server", "nova.compute", instance.server, seconds=240.0, beside=True),
    Check("login", "horizon.server", dashboard.login, each=True),
    Check("login", "horizon.server", dashboard.login),
    Check("object by Swift", "ceph.rgw", objectstore.swift, seconds=60.0),
    Check("object by S3", "ceph.rgw", objectstore.s3, seconds=60.0),
)
