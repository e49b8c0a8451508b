"""What a plan is: stages of waves of steps over explicit lists of nodes, and its hash.

A plan is data. It is made once (:mod:`saltern.plan.make`), shown, approved by its hash, and then
carried out exactly (:mod:`saltern.rollout.engine`), so everything that the engine does is in it:
no node is chosen and no function is named later. Two plans with equal content have the same hash,
whenever and by whomever they were made.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

from saltern.errors import PlanError

#: Layout of the JSON below; another one is refused, never guessed.
FORMAT = 1
#: Of a field that is written only where it says something: plans without it keep their hash.
SPARSE = {"sparse": True}

WORKFLOWS = (
    "deploy",
    "change",
    "upgrade",
    "restart",
    "reboot",
    "reimage",
    "scale-out",
    "scale-in",
    "replace",
    "operation",
    "rollback",
)

# What a step does. The engine has one handler for each of them, and no other.
GATE = "gate"  # ask typed questions; anything but ok or warn stops the wave
DRAIN = "drain"  # take nodes out of service: each call takes a lease, ``undo`` gives it back
PIN = "pin"  # move the pins of nodes to ``revision``
REFRESH = "refresh"  # let nodes take their pillar (and modules) anew, and wait for it
APPLY = "apply"  # state.apply; what changed is kept
CALL = "call"  # any other function of nodes
RUNNER = "runner"  # a runner function of the master: a form, sanity
VERIFY = "verify"  # read back: health of the roles that were touched
RELEASE = "release"  # give back the leases of the wave
SOAK = "soak"  # wait ``seconds`` and look at the probes
COMMIT = "commit"  # the revision becomes the cluster's deployed one, its pins are taken off
KINDS = (GATE, DRAIN, PIN, REFRESH, APPLY, CALL, RUNNER, VERIFY, RELEASE, SOAK, COMMIT)

#: Name of a wave that goes first to see whether the others may follow.
CANARY = "canary"

#: Until when a step can be undone.
ALWAYS, UNTIL_WRITE, NEVER = "always", "until_write", "never"
REVERSIBLE = (ALWAYS, UNTIL_WRITE, NEVER)

#: Seconds after which anybody may give back what a rollout took out of service.
LEASE_TTL = 4 * 3600.0

#: What happens when more nodes fail than a stage's budget allows.
STOP, ROLL_BACK = "stop", "rollback"


@dataclass(frozen=True)
class PlannedCall:
    """A function of an explicit list of nodes, published as one job.

    :param nodes: minion ids, sorted
    :param fun: execution module function
    :param arg: positional arguments, plain data
    :param kwarg: keyword arguments, plain data
    :param serves: nodes on whose behalf it is called, where that are others than ``nodes``: a
        proxy that drains ``ctl01`` serves ``ctl01``. Empty: each node serves itself
    :param what: for people, of a ``drain``: ``ctl01 drained in HAProxy listen keystone``; of an
        ``undo``: what stays all the same
    :param fresh: each node takes its pillar anew before, in the same job
    """

    nodes: tuple[str, ...]
    fun: str
    arg: tuple[Any, ...] = ()
    kwarg: Mapping[str, Any] = field(default_factory=dict)
    serves: tuple[str, ...] = ()
    what: str = ""
    fresh: bool = False


@dataclass(frozen=True)
class Check:
    """Questions about one role on one node, in the shape of ``lifecycle:<role>:health``.

    :param node: who is asked (``health.check``)
    :param role: the role they are about, empty for the host itself
    :param checks: the questions; none at all asks only whether the node answers
    """

    node: str
    role: str
    checks: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Step:
    """One thing that the engine does and journals: intent, then result.

    :param id: unique in the plan and stable: ``<stage>/<wave>/<number>-<kind>``
    :param kind: one of :data:`KINDS`
    :param title: for people: ``apply keystone.server on ctl01``
    :param nodes: the nodes that it is about, sorted; a node that failed earlier in its wave is
        left out of every call that names or serves it
    :param calls: what is published, all at once
    :param undo: what gives it back (``drain``), or its inverse (``call``), one by one in order; of
        an ``apply`` that brings roles to nodes that had none of them: what takes them away, and
        what is applied again. Without, an ``apply`` is undone by applying the same once more. A
        call without ``nodes`` is one of the master, with ``kwarg`` only
    :param checks: of ``gate`` and ``verify``
    :param runner: function of the master, of ``runner``
    :param kwarg: its keyword arguments
    :param revision: of ``pin`` and ``commit``
    :param seconds: of ``soak``; of ``verify``: how long a silent node is waited for and asked
        anew before it counts as failed (it is restarting), 0 for not at all
    :param idempotent: may be published once more when its outcome is unknown
    :param reversible: until when it can be undone
    :param timeout: seconds of silence after which a node is asked whether it still works on it
    :param limit: seconds that it may take at most
    :param settles: of what is taken back by data of before: what brings others in line with these,
        once all that the rollout did was taken back
    """

    id: str
    kind: str
    title: str
    nodes: tuple[str, ...] = ()
    calls: tuple[PlannedCall, ...] = ()
    undo: tuple[PlannedCall, ...] = ()
    checks: tuple[Check, ...] = ()
    runner: str = ""
    kwarg: Mapping[str, Any] = field(default_factory=dict)
    revision: str = ""
    seconds: float = 0.0
    idempotent: bool = True
    reversible: str = ALWAYS
    timeout: float = 15.0
    limit: float = 3600.0
    settles: tuple[PlannedCall, ...] = field(default=(), metadata=SPARSE)


@dataclass(frozen=True)
class Wave:
    """Nodes that are worked on at the same time, and the steps of it in their order.

    :param number: from 1 within the stage
    :param name: :data:`CANARY` (no node of it may fail, whatever the budget), ``25 %``, ``2 of 5``
    :param nodes: sorted; empty for a wave that is about the cluster as a whole
    :param domains: their failure domains, sorted
    :param minutes: predicted from waves of this stage in earlier rollouts, with the soak; None
        without any
    """

    number: int
    name: str
    nodes: tuple[str, ...]
    steps: tuple[Step, ...]
    domains: tuple[str, ...] = ()
    minutes: float | None = field(default=None, metadata=SPARSE)


@dataclass(frozen=True)
class Impact:
    """What users may notice, in a word each: ``none``, ``degraded`` or ``down``.

    :param control: of the APIs
    :param data: of workloads
    :param why: one sentence
    """

    control: str = "none"
    data: str = "none"
    why: str = ""


@dataclass(frozen=True)
class Stage:
    """A part of the plan that ends with its roles proven healthy.

    :param name: unique in the plan: ``control``, or ``control.2`` for its second level
    :param phase: the stage of the lifecycle that it belongs to, or ``preflight``, ``sanity``
    :param title: for people
    :param roles: what is touched, in their order
    :param budget: how many nodes may fail; one more stops the stage, and so does any of a canary
    :param on_failure: :data:`STOP` or :data:`ROLL_BACK` (the wave that went over the budget)
    :param rate: nodes per hour at most, 0 for no limit
    :param slo: share of failed requests per probe, above which the stage stops:
        ``{"keystone": 0.0}``; a probe that is not named is only measured
    :param expected: node to names of states that would change (``predict``)
    :param restarts: node to services, ``restart keystone-api``
    :param minutes: predicted from the journal's history, None without any
    """

    name: str
    phase: str
    title: str
    roles: tuple[str, ...]
    waves: tuple[Wave, ...]
    impact: Impact = field(default_factory=Impact)
    reversible: str = ALWAYS
    budget: int = 0
    on_failure: str = STOP
    rate: float = 0.0
    slo: Mapping[str, float] = field(default_factory=dict)
    expected: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    restarts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    minutes: float | None = None

    @property
    def nodes(self) -> tuple[str, ...]:
        """All nodes of its waves, in the order in which they are worked on."""
        return tuple(node for wave in self.waves for node in wave.nodes)


@dataclass(frozen=True)
class Probe:
    """A measurement that runs all through a rollout.

    :param name: ``keystone``; unique in the plan
    :param node: the minion that measures
    :param kind: ``http``, ``api``, ``token``, ``tcp``, ``icmp``, or one of Ceph
    :param target: URL, ``host:port`` or host
    :param options: of the kind (``status``, ``ca``, ``cloud``), plain data without secrets
    :param interval: seconds between two requests
    :param timeout: seconds after which one counts as failed
    """

    name: str
    node: str
    kind: str
    target: str
    options: Mapping[str, Any] = field(default_factory=dict)
    interval: float = 0.25
    timeout: float = 5.0


@dataclass(frozen=True)
class Basis:
    """What the plan was made from: when any of it moved, the plan is not applied.

    :param revision: the target, full id
    :param deployed: the cluster's deployed revision, empty for none
    :param pins: node to the revision that it is pinned to, nodes without a pin left out
    :param present: nodes that answered, sorted
    :param absent: nodes of the cluster that did not, sorted
    :param artifacts: fingerprint of the artifacts that the target revision names
    :param formulas: fingerprint of the formulas that the master serves
    """

    revision: str
    deployed: str = ""
    pins: Mapping[str, str] = field(default_factory=dict)
    present: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    artifacts: str = ""
    formulas: str = ""


@dataclass(frozen=True)
class Release:
    """A product that a plan takes from one version to another.

    :param product: its name in the catalogue
    :param title: for people
    :param before: the version on its nodes, empty where they had none
    :param after: the version that they get
    :param nodes: who gets it, sorted
    :param way: ``rolling``, or the exceptional way of the catalogue that was allowed
    :param roles: of the product on these nodes, sorted
    :param left: nodes of the cluster that keep an older version, sorted
    """

    product: str
    title: str
    before: str
    after: str
    nodes: tuple[str, ...]
    way: str = "rolling"
    roles: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


@dataclass(frozen=True)
class Swap:
    """An artifact that nodes run after a plan in place of another one.

    :param role: who runs it
    :param before: address and SHA-256 of the one before, empty for none
    :param after: of the one that comes
    :param nodes: on how many nodes
    """

    role: str
    before: str
    before_sha256: str
    after: str
    after_sha256: str
    nodes: int


@dataclass(frozen=True)
class Plan:
    """An ordered, complete description of one rollout.

    :param workflow: one of :data:`WORKFLOWS`
    :param cluster: its name
    :param basis: what it was made from
    :param stages: in their order
    :param probes: what is measured meanwhile
    :param locks: names of what it needs for itself alone (failure domains, roles with a quorum)
    :param limits: the request in words, as given: ``{"nodes": […], "canary": 1}``
    :param undoes: of ``rollback``: the rollout that it undoes
    :param resume: whether the master goes on with it by itself after a restart
    :param lease_ttl: seconds after which anybody may give back what it took out of service
    :param releases: what it takes to another release; a rollback has them the other way round
    :param artifacts: what runs in place of what
    :param notes: what people should know before they approve it, one sentence each
    """

    workflow: str
    cluster: str
    basis: Basis
    stages: tuple[Stage, ...]
    probes: tuple[Probe, ...] = ()
    locks: tuple[str, ...] = ()
    limits: Mapping[str, Any] = field(default_factory=dict)
    undoes: str = ""
    resume: bool = True
    lease_ttl: float = LEASE_TTL
    releases: tuple[Release, ...] = field(default=(), metadata=SPARSE)
    artifacts: tuple[Swap, ...] = field(default=(), metadata=SPARSE)
    notes: tuple[str, ...] = field(default=(), metadata=SPARSE)

    @property
    def nodes(self) -> tuple[str, ...]:
        """All nodes that it touches, sorted."""
        return tuple(sorted({node for stage in self.stages for node in stage.nodes}))

    @property
    def no_return(self) -> str:
        """Id of the first step that cannot be undone; empty when all of them can."""
        return next((s.id for _, _, s in self.steps() if s.reversible == NEVER), "")

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON, 64 hex digits."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()

    def steps(self) -> Iterator[tuple[Stage, Wave, Step]]:
        """Go through all steps in their order."""
        for stage in self.stages:
            for wave in stage.waves:
                for step in wave.steps:
                    yield stage, wave, step

    def canonical(self) -> str:
        """The plan as JSON text that is the same for equal plans."""
        return json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    def to_json(self) -> dict[str, Any]:
        """Return plain data: mappings, lists, texts, numbers."""
        return {"format": FORMAT, **_plain(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Plan:
        """Read what :meth:`to_json` gave.

        :raises PlanError: it is of another format, or no plan
        """
        given = dict(data)
        found = given.pop("format", None)
        if found != FORMAT:
            raise PlanError(
                f"the plan has format {found!r}, this version reads {FORMAT}", cure="Plan again"
            )
        try:
            plan: Plan = _built(cls, given)
        except (TypeError, ValueError, KeyError, AttributeError) as err:
            raise PlanError(f"the plan cannot be read: {err}", cure="Plan again") from None
        return plan


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {
            item.name: _plain(found)
            for item in fields(value)
            if (found := getattr(value, item.name)) != item.default
            or not item.metadata.get("sparse")
        }
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _built(kind: Any, value: Any) -> Any:
    """A value of a type of this module from plain data; texts and numbers stay as they are."""
    if is_dataclass(kind) and isinstance(kind, type):
        hints = get_type_hints(kind)
        unknown = sorted(set(value) - {item.name for item in fields(kind)})
        if unknown:
            raise ValueError(f"{kind.__name__} has no {unknown[0]}")
        return kind(**{name: _built(hints[name], item) for name, item in value.items()})
    origin, inner = get_origin(kind), get_args(kind)
    if origin is tuple and isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(_built(inner[0], item) for item in value)
    if origin is not None and inner and isinstance(value, Mapping):
        return {key: _built(inner[1], item) for key, item in value.items()}
    return value
