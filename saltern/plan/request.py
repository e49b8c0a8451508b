"""What people ask for: a workflow, what it is limited to, and how carefully it goes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import yaml

from saltern.errors import PlanError
from saltern.plan.types import LEASE_TTL, ROLL_BACK, STOP, WORKFLOWS

#: workflows that do something to nodes that people name, and to no others
NAMED = ("scale-out", "scale-in", "replace")
#: workflows that leave the revision of every node as it is
STAY = ("restart", "reboot", "operation")
#: seconds that a lease holds at least: nothing is drained and given back in less
LEAST_TTL = 60
#: seconds of what a time may end with
_UNITS = {"s": 1, "m": 60, "h": 3600}
#: what may be asked of a node or rack that does not fit a name
_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_ROLE = re.compile(r"[a-z0-9_]+\.[a-z0-9_]+")
_OPERATION = re.compile(r"[a-z0-9_]+\.[a-z0-9_]+\.[a-z0-9][a-z0-9-]*")
#: what the arguments of an operation are called where people write them
ARGS = "args"

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0", "none", "")


@dataclass(frozen=True)
class Request:
    """A workflow and its limits.

    :param workflow: one of :data:`~saltern.plan.types.WORKFLOWS` but ``rollback``
    :param cluster: its name
    :param roles: work on these roles only
    :param nodes: work on these nodes only; ids or first labels
    :param domains: work on nodes of these failure domains only (racks, hosts of machines)
    :param count: work on that many nodes at most, None for all
    :param canary: how many nodes come first, one wave for them alone; 0 for none. When one of them
        fails the stage stops, whatever the budget
    :param percent: shares of a stage's nodes, in percent, that are reached before the rest begins
    :param rate: nodes per hour at most, 0 for no limit
    :param soak: seconds to wait after each wave and to look at the probes
    :param budget: how many nodes of a stage may fail
    :param on_failure: when more fail: ``stop``, or ``rollback`` of the wave
    :param slo: share of failed requests by probe, above which a stage stops
    :param probes: measure while it runs
    :param predict: have the nodes foresee their changes
    :param allow_absent: leave out nodes that do not answer instead of refusing
    :param resume: the master goes on by itself after a restart
    :param lease_ttl: seconds after which anybody may give back what the rollout took out of service
    :param accept_outage: roles whose majority may be lost meanwhile, so that they are down
    :param own: products whose packages do not come from the distribution, as of ``release.path``
    :param allow: products that may take the exceptional way of the release catalogue
    :param fence: of an ``upgrade``: writes to a service are refused from the dump of its databases
        until its contracted schema is proven
    :param operation: of the workflow ``operation``: ``ceph.osd.replace-store``
    :param arguments: its arguments by name, plain data without secrets: plan and journal show them
    :raises PlanError: a value is not one
    """

    workflow: str
    cluster: str
    roles: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    count: int | None = None
    canary: int = 1
    percent: tuple[int, ...] = (10, 50)
    rate: float = 0.0
    soak: float = 0.0
    budget: int = 0
    on_failure: str = STOP
    slo: Mapping[str, float] = field(default_factory=dict)
    probes: bool = True
    predict: bool = False
    allow_absent: bool = False
    resume: bool = True
    lease_ttl: float = LEASE_TTL
    accept_outage: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    fence: bool = False
    operation: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        allowed = [name for name in WORKFLOWS if name != "rollback"]
        _must(self.workflow in allowed, "workflow", self.workflow, f"one of {', '.join(allowed)}")
        _must(bool(self.cluster), "cluster", self.cluster, "the name of a cluster")
        for key in ("roles", "accept_outage"):
            for name in getattr(self, key):
                _must(_matches(_ROLE, name), key, name, "service.role")
        for key in ("nodes", "domains", "own", "allow"):
            for name in getattr(self, key):
                _must(_matches(_NAME, name), key, name, "a name")
        _must(self.count is None or _whole(self.count, 1), "count", self.count, "1 or more")
        _must(_whole(self.canary), "canary", self.canary, "0 or more")
        rising = all(_whole(p, 1) and p < 100 for p in self.percent)
        rising = rising and list(self.percent) == sorted(set(self.percent))
        _must(rising, "percent", list(self.percent), "rising shares between 1 and 99")
        _must(_number(self.rate), "rate", self.rate, "nodes per hour, 0 or more")
        _must(_number(self.soak), "soak", self.soak, "seconds, 0 or more")
        _must(_whole(self.budget), "budget", self.budget, "0 or more")
        fine = _number(self.lease_ttl) and self.lease_ttl >= LEAST_TTL
        told = f"a time of {LEAST_TTL} s or more: 5400, 90m, 4h"
        _must(fine, "lease_ttl", self.lease_ttl, told)
        modes = (STOP, ROLL_BACK)
        _must(self.on_failure in modes, "on_failure", self.on_failure, " or ".join(modes))
        for probe, share in self.slo.items():
            _must(_number(share) and share <= 1, f"slo:{probe}", share, "a share from 0 to 1")
        if self.slo and not self.probes:
            raise PlanError("slo needs probes", where="probes", cure="Leave probes on, or drop slo")
        self._fits_workflow()

    def _fits_workflow(self) -> None:
        limits = [key for key in ("roles", "nodes", "domains", "count") if getattr(self, key)]
        if self.workflow == "deploy" and limits:
            raise PlanError(
                f"a deploy works on the whole cluster, so {limits[0]} cannot be given",
                where=limits[0],
                cure="Use change or restart for a part of it",
            )
        if self.workflow == "deploy" and self.accept_outage:
            raise PlanError(
                "a deploy takes nobody out of service, so no outage can be accepted",
                where="accept_outage",
                cure="Drop it",
            )
        if self.workflow == "scale-out" and self.on_failure == ROLL_BACK:
            raise PlanError(
                "nodes that are added cannot be rolled back to a revision that does not know them",
                where="on_failure",
                cure="Drop it; new nodes leave by a scale-in",
            )
        if self.fence and self.workflow != "upgrade":
            raise PlanError(
                f"a {self.workflow} contracts no schema, so there is nothing to fence",
                where="fence",
                cure="Drop it",
            )
        if self.workflow in NAMED:
            wrong = [key for key in limits if key != "nodes"]
            if wrong or not self.nodes:
                raise PlanError(
                    f"{self.workflow} works on nodes that are named, and on all of their roles",
                    where=wrong[0] if wrong else "nodes",
                    cure=f"Give nodes={' and drop ' + wrong[0] if wrong else ''}",
                )
        if self.workflow == "restart" and not (self.roles or self.nodes):
            raise PlanError(
                "restart must be told what to restart", where="roles", cure="Give roles= or nodes="
            )
        if self.workflow in ("reboot", "reimage") and self.roles:
            raise PlanError(
                f"a {self.workflow} concerns all roles of a node",
                where="roles",
                cure="Give nodes= instead",
            )
        self._fits_operation()

    def _fits_operation(self) -> None:
        given = "operation" if self.operation else ARGS if self.arguments else ""
        if self.workflow != "operation":
            if given:
                raise PlanError(
                    f"{self.workflow} is no operation, so {given} cannot be given",
                    where=given,
                    cure="Use the workflow operation",
                )
            return
        if not _matches(_OPERATION, self.operation):
            raise PlanError(
                f"{self.operation!r} is no operation of a role"
                if self.operation
                else "it must be said which operation",
                where="operation",
                cure="Give operation=service.role.name;"
                f" `salt-run rollout.operations cluster={self.cluster}` lists them",
            )
        if self.roles:
            raise PlanError("an operation is one of its role alone", where="roles", cure="Drop it")

    @classmethod
    def read(cls, workflow: str, cluster: str, given: Mapping[str, Any]) -> Request:
        """Make a request of what a command line gives: texts, numbers, lists, what was not given.

        :param given: names of the fields above to values; ``None`` is what was not given. Lists may
            be texts with commas, numbers texts; ``percent`` may end in ``%``; ``slo`` may be
            ``keystone=0.01,glance=0``
        :raises PlanError: an unknown name, or a value that is not one
        """
        known = {_word(item.name): item.name for item in fields(cls)}
        values: dict[str, Any] = {}
        for key, value in given.items():
            if key not in known or key in ("workflow", "cluster"):
                options = sorted({*known} - {"workflow", "cluster"})
                raise PlanError(
                    f"{key!r} is no option of a plan", cure=f"The options are {', '.join(options)}"
                )
            if value is not None:
                values[known[key]] = _read(known[key], value)
        return cls(workflow, cluster, **values)

    @property
    def limited(self) -> bool:
        """Whether it asks for a part only of what there is to do."""
        return bool(self.roles or self.nodes or self.domains or self.count)

    def words(self) -> dict[str, Any]:
        """Return what was asked for beside the defaults, as plain data."""
        found: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name in ("workflow", "cluster") or value == _default(item):
                continue
            found[_word(item.name)] = list(value) if isinstance(value, tuple) else value
        return found


def _word(name: str) -> str:
    """What a field is called where people write it."""
    return ARGS if name == "arguments" else name


def _default(item: Any) -> Any:
    return {} if item.name in ("slo", "arguments") else item.default


def _read(key: str, value: Any) -> Any:
    if key in ("roles", "nodes", "domains", "accept_outage", "own", "allow"):
        return tuple(sorted({str(name).strip() for name in _listed(value)} - {""}))
    if key == "percent":
        return tuple(
            int(_numeric(key, str(one).strip().rstrip("%"), whole=True)) for one in _listed(value)
        )
    if key in ("count", "canary", "budget"):
        return int(_numeric(key, value, whole=True))
    if key == "lease_ttl":
        text = str(value).strip().lower()
        unit = _UNITS.get(text[-1:], 0)
        return _numeric(key, text[:-1]) * unit if unit else _numeric(key, value)
    if key in ("rate", "soak"):
        return _numeric(key, value)
    if key == "slo":
        return _slo(value)
    if key == "arguments":
        return _arguments(value)
    if key in ("on_failure", "operation"):
        return str(value)
    text = str(value).strip().lower()
    _must(text in (*_TRUE, *_FALSE), key, value, "true or false")
    return text in _TRUE


def _listed(value: Any) -> Sequence[Any]:
    if isinstance(value, str):
        return [one for one in value.split(",") if one.strip()]
    return list(value) if isinstance(value, list | tuple | set | frozenset) else [value]


def _numeric(key: str, value: Any, *, whole: bool = False) -> float:
    wanted = "a whole number" if whole else "a number"
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = math.nan
    fine = math.isfinite(found) and not isinstance(value, bool) and not (whole and found % 1)
    _must(fine, key, value, wanted)
    return found


def _slo(value: Any) -> dict[str, float]:
    if isinstance(value, Mapping):
        return {str(k): _numeric(f"slo:{k}", v) for k, v in value.items()}
    found = {}
    for one in _listed(value):
        name, sign, share = str(one).partition("=")
        _must(bool(sign), "slo", one, "name=share")
        found[name.strip()] = _numeric(f"slo:{name.strip()}", share)
    return found


def _arguments(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            value = yaml.safe_load(value) or {}
        except yaml.YAMLError:
            value = None
    fine = isinstance(value, Mapping) and all(isinstance(key, str) for key in value)
    if not fine:
        raise PlanError(
            "is no mapping of names to values", where=ARGS, cure="Write it as args='{store: 3}'"
        )
    return dict(value)


def _matches(pattern: re.Pattern[str], value: Any) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _whole(value: Any, least: int = 0) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _number(value: Any) -> bool:
    fine = isinstance(value, int | float) and not isinstance(value, bool)
    return fine and math.isfinite(value) and value >= 0


def _must(fine: bool, where: str, value: Any, wanted: str) -> None:
    if not fine:
        raise PlanError(f"{value!r} is not {wanted}", where=where)
