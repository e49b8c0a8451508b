"""SDK connections that stop when their time is over, and undo what they made."""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Callable
from typing import Any

import keystoneauth1.exceptions
import keystoneauth1.identity.v3
import keystoneauth1.session
import openstack.connection

from saltern.errors import SalternError
from saltern.sanity.target import Target

#: Seconds to connect, and between two bytes of an answer.
CONNECT, READ = 3.0, 15.0
#: Objects of a sanity run are called saltern-sanity-<seconds since the epoch>-<random>.
PREFIX = "saltern-sanity-"
#: Seconds after which such an object belongs to no running check any more.
LEFTOVER_AGE = 600


class CheckError(SalternError):
    """A check of a sanity run found something wrong."""

    code = "sanity"


class Deadline:
    """Seconds that are left of a check's time.

    :param seconds: how long it may take
    :param clock: monotonic seconds
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self._clock = clock
        self._end = clock() + seconds

    def left(self) -> float:
        """Return the seconds that are left.

        :raises CheckError: none are
        """
        left = self._end - self._clock()
        if left <= 0:
            raise CheckError(f"not done within {self.seconds:g} s")
        return left


class BoundedSession(keystoneauth1.session.Session):
    """A session none of whose requests outlives the deadline (an attribute, to be replaced)."""

    deadline = Deadline(0)

    def request(self, url: str, method: str, **kwargs: Any) -> Any:  # type: ignore[override]
        """Send a request with what is left of the time as its timeout."""
        left = self.deadline.left()
        kwargs["timeout"] = (min(CONNECT, left), min(READ, left))
        return super().request(url, method, **kwargs)


def is_leftover(name: str | None, now: float) -> bool:
    """Tell whether an object was left by a sanity run that can no longer be running.

    :param name: name of the object
    :param now: seconds since the epoch
    """
    if not name or not name.startswith(PREFIX):
        return False
    stamp = name.removeprefix(PREFIX).partition("-")[0]
    return stamp.isdigit() and now - int(stamp) > LEFTOVER_AGE


class Context:
    """What a check works with.

    :param target: the cloud
    :param deadline: how long the check may take
    """

    def __init__(self, target: Target, deadline: Deadline) -> None:
        # At debug level these write request bodies, and a user's body holds its password.
        for name in ("keystoneauth", "openstack"):
            logging.getLogger(name).setLevel(logging.INFO)
        self.target = target
        self.session = BoundedSession(
            auth=self.password(target.credentials.url),
            verify=target.credentials.cacert or True,
            app_name="saltern",
        )
        self.session.deadline = deadline
        self._undo: list[tuple[str, Callable[[], object]]] = []
        self._cloud: openstack.connection.Connection | None = None

    @property
    def cloud(self) -> Any:
        """The SDK connection, through the catalogue and so through the virtual address.

        Untyped: the SDK types its proxies as a union over API versions.
        """
        if self._cloud is None:
            self._cloud = openstack.connection.Connection(
                session=self.session,
                region_name=self.target.region,
                interface=self.target.interface,
            )
        return self._cloud

    def password(self, url: str, **changed: Any) -> keystoneauth1.identity.v3.Password:
        """Return an authentication of the administrator at ``url``; ``changed`` replaces parts."""
        who = self.target.credentials
        given: dict[str, Any] = {
            "username": who.username,
            "password": who.password,
            "user_domain_name": who.user_domain,
            "project_name": who.project,
            "project_domain_name": who.project_domain,
        }
        return keystoneauth1.identity.v3.Password(auth_url=url, **{**given, **changed})

    def endpoint(self, kind: str) -> str:
        """Return the URL of a service.

        :param kind: its type in the catalogue
        :raises CheckError: the catalogue has none in the region
        """
        try:
            found = self.session.get_endpoint(
                service_type=kind,
                region_name=self.target.region,
                interface=self.target.interface,
            )
        except keystoneauth1.exceptions.EndpointNotFound:
            found = None
        if not found:
            raise CheckError(f"the catalogue has no endpoint of type {kind}")
        return str(found)

    def name(self) -> str:
        """Return a name that no other object has and that tells its age."""
        return f"{PREFIX}{int(time.time())}-{secrets.token_hex(4)}"

    def undo(self, what: str, call: Callable[[], object]) -> None:
        """Remember how to remove what was just made; run last in, first out."""
        self._undo.append((what, call))

    def clean_up(self, seconds: float) -> list[str]:
        """Undo everything, whatever happened before.

        :param seconds: time for all of it
        :returns: a sentence for each object that is still there
        """
        self.session.deadline = Deadline(seconds)
        failed = []
        while self._undo:
            what, call = self._undo.pop()
            try:
                call()
            except Exception as err:  # the others must still go, and a check never raises
                failed.append(f"{what} was left behind: {sentence(err)}")
        return failed


#: What urllib3 wraps around a reason.
_WRAPPED = re.compile(
    r": HTTPS?ConnectionPool\(.*\(Caused by \w+\((?P<quote>[\"'])(?P<why>.*)(?P=quote)\)+$"
)
_INNER = re.compile(r"^(?:<[^>]*>|HTTPS?Connection\([^)]*\)): ")


def sentence(err: BaseException) -> str:
    """Put an error on one line of bearable length, without a full stop."""
    text = " ".join(str(err).split()) or type(err).__name__
    text = _WRAPPED.sub(lambda found: f": {_INNER.sub('', found['why'])}", text).rstrip(". ")
    return text if len(text) <= 300 else text[:296] + " ..."
