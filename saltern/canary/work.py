"""Who asks the cloud about canaries, and for how long; what every kind of canary has in common."""

from __future__ import annotations

import abc
import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import keystoneauth1.exceptions

from saltern.canary import content
from saltern.canary.types import (
    LOST,
    REPLACED,
    STATE,
    UNFINISHED,
    UNKNOWN,
    Canary,
    CanaryError,
    Flock,
    name_of,
)
from saltern.errors import SalternError
from saltern.sanity.client import Context, Deadline, sentence
from saltern.sanity.target import Target

Connect = Callable[[Target, Deadline], Context]

#: Names of the kinds that all others belong to.
PROJECT, USER = "project", "user"


class Work:
    """One run over the canaries of a cloud.

    :param target: the cloud and its administrator
    :param flock: which canaries
    :param canaries: what is remembered of them, by kind; kept up to date by the run
    :param password: of the canaries' user
    :param connect: makes the connections
    """

    def __init__(
        self,
        target: Target,
        flock: Flock,
        canaries: dict[str, Canary],
        password: str,
        connect: Connect = Context,
    ) -> None:
        self.target = target
        self.flock = flock
        self.canaries = canaries
        self._password = password
        self._connect = connect
        self._deadline = Deadline(0)
        self._mine: Context | None = None
        self._refused: CanaryError | None = None
        self._domain = ""
        self.admin = connect(target, self._deadline)

    def within(self, seconds: float) -> None:
        """Give what follows so many seconds from now."""
        self._deadline = Deadline(seconds)
        for context in (self.admin, self._mine):
            if context is not None:
                context.session.deadline = self._deadline

    @property
    def password(self) -> str:
        """The user's password."""
        return self._password

    @property
    def mine(self) -> Context:
        """The canaries' user in the canaries' project; the first use logs in.

        :raises CanaryError: the login is refused; asked once in a run
        """
        if self._mine is None and self._refused is None:
            try:
                self._mine = self.login()
            except keystoneauth1.exceptions.ClientException as err:
                self._refused = CanaryError(
                    UNKNOWN, f"not asked, for {name_of(USER)} cannot log in: {sentence(err)}"
                )
        if self._mine is None:
            raise self._refused or CanaryError(UNKNOWN, "not asked")
        return self._mine

    @property
    def hand(self) -> Context:
        """Who removes things: the user or, when it cannot log in, the administrator."""
        try:
            return self.mine
        except CanaryError:
            return self.admin

    def login(self) -> Context:
        """Log in as the canaries' user with a new token.

        :raises keystoneauth1.exceptions.ClientException: it is refused
        """
        domain = self.target.credentials.project_domain
        who = dataclasses.replace(
            self.target.credentials,
            username=name_of(USER),
            password=self._password,
            project=name_of(PROJECT),
            user_domain=domain,
            project_domain=domain,
        )
        made = self._connect(dataclasses.replace(self.target, credentials=who), self._deadline)
        made.session.get_token()
        return made

    def forget_login(self) -> None:
        """Log in anew when that is needed next: the user is another one, or gone."""
        self._mine = self._refused = None

    @property
    def domain(self) -> str:
        """Id of the domain that project and user are in.

        :raises CanaryError: there is no such domain
        """
        if not self._domain:
            name = self.target.credentials.project_domain
            found = [one.id for one in self.admin.cloud.identity.domains(name=name)]
            if len(found) != 1:
                raise CanaryError(UNKNOWN, f"there are {len(found)} domains called {name}")
            self._domain = str(found[0])
        return self._domain

    def offers(self, service: str) -> bool:
        """Tell whether the catalogue has a service, by its type.

        :raises keystoneauth1.exceptions.ClientException: there is no catalogue to look into
        """
        try:
            found = self.admin.session.get_endpoint(
                service_type=service,
                region_name=self.target.region,
                interface=self.target.interface,
            )
        except keystoneauth1.exceptions.EmptyCatalog:
            raise
        except keystoneauth1.exceptions.EndpointNotFound:
            return False
        return bool(found)

    def id(self, kind: str) -> str:
        """Return the id of a canary that another one is made of.

        :raises CanaryError: it is not there yet
        """
        found = self.canaries.get(kind)
        if found is None or not found.id:
            raise CanaryError(UNFINISHED, f"it needs {name_of(kind)}, which is not there")
        return found.id

    def data(self, kind: str, size: int) -> bytes:
        """Return the data of a canary; see :func:`saltern.canary.content.made`."""
        return content.made(self.flock.seed, kind, size)

    def described(self, kind: str) -> str:
        """Return the description of a canary: a person who finds it reads what it is."""
        return f"{name_of(kind)} of Saltern, must survive; {self.flock.mark}"

    def ours(self, found: Any) -> bool:
        """Tell whether a thing has the mark in its description."""
        return self.flock.mark in str(found.description or "")


class Kind(abc.ABC):
    """One kind of canary: how it is made, found, proven and removed.

    ``name``; ``service`` in the catalogue (empty: Keystone itself); ``needs``, the kinds that it is
    made of; ``seconds`` to make it, and to prove or to remove it; ``codes`` of facts that differ,
    where it is not :data:`~saltern.canary.types.STATE`; ``wanted``, its status, empty for none.
    """

    name = ""
    service = ""
    needs: tuple[str, ...] = ()
    seconds = 60.0
    codes: ClassVar[Mapping[str, str]] = {}
    wanted = ""

    @abc.abstractmethod
    def find(self, work: Work) -> Any:
        """Return what a run that was ended made and did not write down, or None.

        :raises CanaryError: a thing of that name is there, and not ours
        """

    @abc.abstractmethod
    def make(self, work: Work) -> Any:
        """Make it; return what its service tells of it, with ``id``."""

    def ready(self, work: Work, found: Any) -> Any:
        """Do and wait for what it lacks to be whole; return what its service then tells."""
        return found

    @abc.abstractmethod
    def get(self, work: Work, id: str) -> Any:
        """Return what its service tells of it.

        :raises openstack.exceptions.NotFoundException: it is not there (or keystoneauth1's)
        """

    @abc.abstractmethod
    def facts(self, work: Work, found: Any) -> dict[str, Any]:
        """Return what must stay, in words: plain data without secrets."""

    @abc.abstractmethod
    def check(self, work: Work, canary: Canary, found: Any) -> str:
        """Prove status and data; return what was seen in a few words.

        :raises CanaryError: something is wrong
        """

    @abc.abstractmethod
    def delete(self, work: Work, id: str) -> None:
        """Remove it, and wait until it is gone; one that is not there is no error."""

    def prove(self, work: Work, canary: Canary, found: Any) -> str:
        """Prove that a canary is the one that was made, as it was made.

        :param found: what its service tells of it now
        :raises CanaryError: it is not
        """
        self.compare(canary, self.facts(work, found))
        if self.wanted:
            held = str(found.status).upper()
            if held != self.wanted:
                raise CanaryError(STATE, f"its status is {held}, not {self.wanted}")
        return self.check(work, canary, found)

    def compare(self, canary: Canary, held: Mapping[str, Any]) -> None:
        """Compare facts with those that are remembered.

        :raises CanaryError: one differs
        """
        now = plain(held)
        for what, wanted in canary.facts.items():
            if now.get(what) != wanted:
                default = REPLACED if what == "created" else STATE
                raise CanaryError(
                    self.codes.get(what, default), f"its {what} {_differs(now.get(what), wanted)}"
                )


def _differs(held: Any, wanted: Any) -> str:
    if isinstance(held, list) and isinstance(wanted, list):
        lost = [str(one) for one in wanted if one not in held]
        more = [str(one) for one in held if one not in wanted]
        told = [*(f"lack {one}" for one in lost), *(f"have {one} too" for one in more)]
        return " and ".join(told) or "have another order"
    return f"is {held!r}, not {wanted!r}"


def plain(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return facts as they come out of the book."""
    found: dict[str, Any] = json.loads(json.dumps(facts))
    return found


def lost(canary: Canary) -> CanaryError:
    """Return the error of a canary that is not there."""
    return CanaryError(LOST, f"{canary.name} ({canary.id}) is not there any more")


def told(err: Exception, verdict: str) -> CanaryError:
    """Return any error of a cloud as one of a canary.

    :param verdict: the code of one that carries none
    """
    if isinstance(err, CanaryError):
        return err
    if isinstance(err, SalternError):
        return CanaryError(verdict, err.sentence)
    return CanaryError(verdict, f"{type(err).__name__}: {sentence(err)}")


def named(found: Any, name: str) -> Any:
    """Return the first thing of a name, or None."""
    return next((one for one in found if one.name == name), None)
