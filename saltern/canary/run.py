"""Make, prove and remove the canaries of a cloud."""

from __future__ import annotations

import dataclasses
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keystoneauth1.exceptions
import openstack.exceptions

from saltern.canary import compute, identity, image, network, storage
from saltern.canary.types import (
    FAILED,
    LEFT,
    MADE,
    MAKING,
    OK,
    SKIPPED,
    UNFINISHED,
    UNKNOWN,
    Book,
    Canary,
    Flock,
    NotOursError,
    Report,
    Row,
)
from saltern.canary.work import PROJECT, USER, Connect, Kind, Work, lost, plain, told
from saltern.errors import PreflightError
from saltern.rollout.ports import Events
from saltern.sanity.client import Context, sentence
from saltern.sanity.target import Target

#: All kinds, each after those that it is made of. They are removed from the last to the first.
KINDS: tuple[Kind, ...] = (
    identity.Project(),
    identity.User(),
    identity.Credential(),
    image.Image(),
    network.Network(),
    network.Subnet(),
    network.Router(),
    network.Group(),
    compute.Server(),
    network.Address(),
    storage.Volume(),
    compute.Attachment(),
    storage.Object(),
)
#: Seconds to ask what the cloud offers.
ASK = 30.0
#: Bytes of a seed.
_SEED = 8

_GONE = (openstack.exceptions.NotFoundException, keystoneauth1.exceptions.NotFound)

#: What is done with one kind: result, code, sentence.
_Said = tuple[str, str, str]


@dataclasses.dataclass(frozen=True)
class Keeper:
    """Keeps the canaries of one cloud.

    :param target: the cloud and its administrator
    :param book: what is remembered of them
    :param password: of a flock's user
    :param events: where progress is told
    :param connect: makes connections
    :param kinds: which kinds there are
    """

    target: Target
    book: Book
    password: Callable[[Flock], str]
    events: Events
    connect: Connect = Context
    kinds: Sequence[Kind] = KINDS

    # -- create ------------------------------------------------------------------------------

    def create(self) -> Report:
        """Make what is missing; what was made once is looked at and never made again.

        :raises PreflightError: the cloud does not tell what it offers; nothing was made
        """
        fresh = self.book.flock() is None
        flock = self.book.flock() or Flock(self.target.cluster, "", "", "", 0.0, "")
        offered = self._offered(self._work(flock))
        if fresh:
            flock = self.book.begin(secrets.token_hex(_SEED), self.target.credentials.url)
        work = self._work(flock)
        for kind in self.kinds:
            if kind.name in offered and kind.name not in work.canaries:
                self._keep(work, Canary(kind.name))
        return self._each(work, "made", self.kinds, lambda kind: self._created(work, kind, offered))

    def _created(self, work: Work, kind: Kind, offered: Mapping[str, bool]) -> _Said:
        canary = work.canaries.get(kind.name)
        if canary is None:
            return SKIPPED, "", f"the cloud offers no {_missing(kind, self.kinds, offered)}"
        work.within(kind.seconds)
        if canary.state == MADE:
            try:
                kind.get(work, canary.id)
            except _GONE:
                err = lost(canary)
                cure = "destroy the canaries before new ones are made"
                return FAILED, err.verdict, f"{err.sentence}; {cure}"
            return OK, "", "is there already"
        for need in kind.needs:
            if work.canaries[need].state != MADE:
                return FAILED, UNFINISHED, f"it needs {Canary(need).name}, which is not whole"
        return self._made(work, kind, canary)

    def _made(self, work: Work, kind: Kind, canary: Canary) -> _Said:
        """Make one; what is about to be made is written down before."""
        again = canary.state == MAKING
        self._keep(work, dataclasses.replace(canary, state=MAKING))
        found = kind.find(work)
        adopted = found is not None
        if found is None:
            found = kind.make(work)
        self._keep(work, Canary(kind.name, str(found.id), state=MAKING))
        found = kind.ready(work, found)
        facts = plain(kind.facts(work, found))
        self._keep(work, Canary(kind.name, str(found.id), facts, MADE))
        return OK, "", "finished what was begun" if again and adopted else "made"

    # -- verify ------------------------------------------------------------------------------

    def verify(self) -> Report:
        """Prove each canary: the same one, in its state, with its data.

        :raises PreflightError: there are none
        """
        flock = self.book.flock()
        if flock is None:
            raise PreflightError(
                "there are no canaries",
                where=f"cluster {self.target.cluster}",
                cure="Make them with `salt-run canary.create`",
            )
        work = self._work(flock)
        return self._each(work, "proven", self.kinds, lambda kind: self._proven(work, kind))

    def _proven(self, work: Work, kind: Kind) -> _Said:
        canary = work.canaries.get(kind.name)
        if canary is None:
            return SKIPPED, "", "the cloud did not offer it when the canaries were made"
        if canary.state != MADE:
            return FAILED, UNFINISHED, "it was never made whole"
        work.within(kind.seconds)
        try:
            found = kind.get(work, canary.id)
        except _GONE:
            err = lost(canary)
            return FAILED, err.verdict, err.sentence
        return OK, "", kind.prove(work, canary, found)

    # -- destroy -----------------------------------------------------------------------------

    def destroy(self) -> Report:
        """Remove all of them, go on where one cannot be removed, and say what is left.

        Project and user stay while something else is left, so that it can be removed later.
        """
        flock = self.book.flock()
        if flock is None:
            return Report(self.target.cluster, "removed", ())
        work = self._work(flock)
        report = self._each(
            work, "removed", tuple(reversed(self.kinds)), lambda kind: self._removed(work, kind)
        )
        if not self.book.canaries():
            self.book.end()
        return report

    def _removed(self, work: Work, kind: Kind) -> _Said:
        canary = work.canaries.get(kind.name)
        if canary is None:
            return SKIPPED, "", "there is none"
        others = sorted(set(work.canaries) - {PROJECT, USER, kind.name})
        if kind.name in (PROJECT, USER) and others:
            names = ", ".join(Canary(other).name for other in others)
            return FAILED, LEFT, f"kept, for {names} is left in it"
        work.within(kind.seconds)
        id = canary.id
        if not id and canary.state == MAKING:
            id = _left_of(work, kind)
        if id:
            kind.delete(work, id)
        del work.canaries[kind.name]
        self.book.drop(kind.name)
        return OK, "", "removed" if id else "was never made"

    # -- what all have in common -------------------------------------------------------------

    def _work(self, flock: Flock) -> Work:
        password = self.password(flock) if flock.seed else ""
        canaries = self.book.canaries() if flock.seed else {}
        return Work(self.target, flock, canaries, password, self.connect)

    def _keep(self, work: Work, canary: Canary) -> None:
        self.book.put(canary)
        work.canaries[canary.kind] = canary

    def _offered(self, work: Work) -> dict[str, bool]:
        """The kinds whose services, and those of what they are made of, are in the catalogue."""
        work.within(ASK)
        found: dict[str, bool] = {}
        try:
            for kind in self.kinds:
                if all(found.get(need) for need in kind.needs) and (
                    not kind.service or work.offers(kind.service)
                ):
                    found[kind.name] = True
        except Exception as err:  # whatever a catalogue answers: nothing was made yet
            raise PreflightError(
                f"the cloud does not tell what it offers: {sentence(err)}",
                where=f"cluster {self.target.cluster}",
            ) from None
        return found

    def _each(
        self, work: Work, verb: str, kinds: Iterable[Kind], do: Callable[[Kind], _Said]
    ) -> Report:
        """Do something with each kind; whatever it raises is the row of that kind."""
        rows = []
        for kind in kinds:
            name = Canary(kind.name).name
            known = {"cluster": self.target.cluster, "canary": name}
            if kind.name in work.canaries:
                self.events.emit(f"canary/{verb}/begin", known, f"{name} ...")
            begin = time.monotonic()
            try:
                result, code, said = do(kind)
            except Exception as err:  # also an answer of a shape nobody expected
                known_whole = kind.name in work.canaries and work.canaries[kind.name].state == MADE
                wrong = told(err, UNKNOWN if verb == "made" and known_whole else _VERDICTS[verb])
                result, code, said = FAILED, wrong.verdict, wrong.sentence
            id = work.canaries.get(kind.name, Canary(kind.name)).id
            row = Row(name, id, result, code, time.monotonic() - begin, said.rstrip("."))
            rows.append(row)
            data = {**known, "result": result, "code": code, "sentence": row.sentence}
            self.events.emit(f"canary/{verb}/end", data, f"{name} {result}: {row.sentence}")
        return Report(self.target.cluster, verb, tuple(rows))


#: The code of an error that carries none.
_VERDICTS = {"made": UNFINISHED, "proven": UNKNOWN, "removed": LEFT}


def _left_of(work: Work, kind: Kind) -> str:
    """Return the id of what a run that was ended may have made, empty for nothing of ours."""
    try:
        found = kind.find(work)
    except NotOursError:
        return ""
    return "" if found is None else str(found.id)


def _missing(kind: Kind, kinds: Sequence[Kind], offered: Mapping[str, bool]) -> str:
    """Name what a kind lacks: its own service, or that of what it is made of."""
    lacking = [one for one in kinds if one.name in kind.needs and one.name not in offered]
    return _missing(lacking[0], kinds, offered) if lacking else f"service of type {kind.service}"


def listed(flock: Flock | None, canaries: Mapping[str, Canary]) -> list[dict[str, Any]]:
    """Return what is remembered as plain data, in the order in which they were made.

    :param flock: None where there is none
    """
    if flock is None:
        return []
    known = [canaries[kind.name] for kind in KINDS if kind.name in canaries]
    return [
        {
            "canary": one.name,
            "id": one.id,
            "state": one.state,
            "facts": dict(one.facts),
            "since": flock.at,
            "by": flock.by,
        }
        for one in known
    ]
