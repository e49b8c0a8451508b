"""Checks of an object store: what an ordinary user does with it, by Swift and by S3.

The user is made for the check, in the administrator's project: the store keeps an account for each
project, and one for every run would pile up there.
"""

from __future__ import annotations

import secrets
import time
from typing import Any

import keystoneauth1.exceptions
import openstack.connection
import openstack.exceptions

from saltern.sanity.client import BoundedSession, CheckError, Context, is_leftover
from saltern.sanity.s3 import Credential, request

#: Bytes of the object that is put.
OBJECT_BYTES = 100_000
#: What the user may do in its project.
ROLE = "member"
OBJECT = "object"


def swift(context: Context, _: str) -> str:
    """Make a container as a user, put an object, get it and delete both."""
    swept = _sweep(context)
    store = _user(context).cloud.object_store
    name, data = context.name(), secrets.token_bytes(OBJECT_BYTES)
    store.create_container(name)
    context.undo(f"container {name}", lambda: _remove(context, name))
    store.upload_object(name, OBJECT, data=data)
    listed = [one.name for one in store.objects(name)]
    if listed != [OBJECT]:
        raise CheckError(f"the container lists {listed!r}, not the object that was put")
    if store.download_object(OBJECT, name) != data:
        raise CheckError(f"the object differs from the {OBJECT_BYTES} bytes that were put")
    store.delete_object(OBJECT, ignore_missing=False, container=name)
    store.delete_container(name, ignore_missing=False)
    if name in [one.name for one in store.containers()]:
        raise CheckError("the container is still listed after its deletion")
    return f"container made, {OBJECT_BYTES // 1000} kB put, got, compared and deleted{swept}"


def s3(context: Context, _: str) -> str:
    """Make a bucket with an EC2 credential, put an object, get it, delete both.

    A request whose signature is wrong must be refused.
    """
    swept = _sweep(context)
    user = _user(context)
    credential = user.credential()
    url = context.endpoint("s3").rstrip("/")
    name, data = context.name(), secrets.token_bytes(OBJECT_BYTES)
    bucket, thing = f"{url}/{name}", f"{url}/{name}/{OBJECT}"

    def ask(method: str, where: str, body: bytes = b"", who: Credential = credential) -> bytes:
        return bytes(request(user.session, who, method, where, body).content)

    forged = Credential(credential.access, secrets.token_hex(16))
    try:
        ask("PUT", bucket, who=forged)
    except keystoneauth1.exceptions.HttpError as err:
        if err.http_status != 403:
            raise
    else:
        context.undo(f"bucket {name}", lambda: _remove(context, name))
        raise CheckError("a request with a wrong signature was carried out")
    ask("PUT", bucket)
    context.undo(f"bucket {name}", lambda: _remove(context, name))
    ask("PUT", thing, data)
    if ask("GET", thing) != data:
        raise CheckError(f"the object differs from the {OBJECT_BYTES} bytes that were put")
    ask("DELETE", thing)
    ask("DELETE", bucket)
    try:
        ask("GET", bucket)
    except keystoneauth1.exceptions.NotFound:
        pass
    else:
        raise CheckError("the bucket is still there after its deletion")
    return f"bucket made, {OBJECT_BYTES // 1000} kB put, got, compared and deleted{swept}"


class _User:
    """A user of its own in the administrator's project."""

    def __init__(self, context: Context, name: str, password: str) -> None:
        self.context = context
        auth = context.password(context.target.credentials.url, username=name, password=password)
        self.session = BoundedSession(
            auth=auth, verify=context.target.credentials.cacert or True, app_name="saltern"
        )
        self.session.deadline = context.session.deadline

    @property
    def cloud(self) -> Any:
        """The SDK connection of this user."""
        target = self.context.target
        return openstack.connection.Connection(
            session=self.session, region_name=target.region, interface=target.interface
        )

    def credential(self) -> Credential:
        """Make an EC2 credential as this user; it goes with the user."""
        made = self.session.post(
            f"{self.context.target.credentials.url}/users/{self.session.get_user_id()}"
            "/credentials/OS-EC2",
            json={"tenant_id": self.session.get_project_id()},
        ).json()["credential"]
        return Credential(made["access"], made["secret"])


def _user(context: Context) -> _User:
    identity = context.cloud.identity
    role = identity.find_role(ROLE, ignore_missing=False)
    project = context.session.get_project_id()
    domain = next(identity.domains(name=context.target.credentials.user_domain))
    name, password = context.name(), secrets.token_urlsafe(24)
    made = identity.create_user(name=name, domain_id=domain.id, password=password)
    context.undo(f"user {name}", lambda: identity.delete_user(made))
    identity.assign_project_role_to_user(project, made, role)
    return _User(context, name, password)


def _remove(context: Context, container: str) -> None:
    """Delete a container and all in it, as the administrator; one that is gone is no error."""
    store = context.cloud.object_store
    try:
        for item in list(store.objects(container)):
            store.delete_object(item.name, ignore_missing=True, container=container)
        store.delete_container(container, ignore_missing=True)
    except openstack.exceptions.NotFoundException:
        return


def _sweep(context: Context) -> str:
    """Delete containers and users that killed runs left; returns words for the report."""
    store, identity = context.cloud.object_store, context.cloud.identity
    now = time.time()
    old = [one.name for one in store.containers() if is_leftover(one.name, now)]
    for name in old:
        _remove(context, name)
    users = [one for one in identity.users() if is_leftover(one.name, now)]
    for user in users:
        identity.delete_user(user)
    count = len(old) + len(users)
    return f"; removed {count} left by an earlier run" if count else ""
