"""What roles declare to be asked and done beside their states: checks before a wave, named work.

Read here from ``lifecycle:<role>``: ``before``, ``precheck``, ``leave``,
``operations``, ``finalize``. Whatever
is no declaration is refused with its place, before a plan is made of it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jsonschema

from saltern.errors import PlanError
from saltern.model.schema import violations
from saltern.plan.types import REVERSIBLE, Impact

#: What an entry does: a function of nodes, one of the master, the role's states, a health check.
CALLS, RUNS, APPLIES, ASKS = "call", "runner", "apply", "check"
#: Seconds that one entry may take, unless it says otherwise.
LIMIT = 3600.0
#: What a wave may mean for users, from harmless to worst.
EFFECTS = ("none", "degraded", "down")
#: Placeholders that a wave fills itself.
NAMES = ("node", "short", "address", "wave")

_FUNCTION = re.compile(r"[a-z0-9_]+\.[a-z0-9_]+")
_OPERATION = re.compile(r"[a-z0-9][a-z0-9-]*")
_ARGUMENT = re.compile(r"[a-z][a-z0-9_]*")
_PLACE = re.compile(r"\{([a-z][a-z0-9_]*)\}")
_MANNER = ("args", "kwargs", "on", "what", "limit", "idempotent", "undo", "reversible")


@dataclass(frozen=True)
class Question:
    """A check that is asked in the gate before a wave, and only there.

    :param check: in the shape of ``health``
    :param on: one member of this role is asked; empty: each node of the wave
    """

    check: Mapping[str, Any]
    on: str = ""


@dataclass(frozen=True)
class Action:
    """One thing that is done to the nodes of a wave.

    :param kind: :data:`CALLS`, :data:`RUNS`, :data:`APPLIES` or :data:`ASKS`
    :param name: the function; empty for the last two
    :param on: one member of this role does it on behalf of the nodes; empty: the nodes themselves
    :param what: for people, with placeholders
    :param check: of :data:`ASKS`
    :param undo: what takes it back, itself without an undo
    :param reversible: until when it can be taken back; empty: as what it belongs to says
    :param then: of an undo: what brings others in line with it once all was taken back
    :param away: of :data:`ASKS`: seconds that nodes may be silent before, as they may restart
    """

    kind: str
    name: str = ""
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    on: str = ""
    what: str = ""
    limit: float = LIMIT
    idempotent: bool = True
    check: Mapping[str, Any] = field(default_factory=dict)
    undo: Action | None = None
    reversible: str = ""
    then: tuple[Action, ...] = ()
    away: float = 0.0


@dataclass(frozen=True)
class Operation:
    """Named work of a role.

    :param name: within the role: ``replace-store``
    :param what: one sentence for people
    :param arguments: name to the JSON schema of its value
    :param drain: whether the role's drain is taken meanwhile
    :param impact: what users may notice; None: as the role says
    :param reversible: of each step that has no undo of its own; empty: such a step is the point
        of no return
    :param host: the whole host is disturbed: all of its roles and what it carries are drained and
        proven as by a reboot, and it may restart
    :param prefetch: what all nodes do first, while all of them serve
    """

    name: str
    what: str
    steps: tuple[Action, ...]
    arguments: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    drain: bool = False
    impact: Impact | None = None
    reversible: str = ""
    host: bool = False
    prefetch: tuple[Action, ...] = ()

    def values(self, given: Mapping[str, Any], where: str) -> dict[str, Any]:
        """Hold arguments against their schemas and add what is left at its default.

        :param given: name to value, plain data
        :param where: name of the operation, for the sentence
        :raises PlanError: an argument is unknown, missing, or does not fit
        """
        known = ", ".join(self.arguments) or "none"
        for name in given:
            if name not in self.arguments:
                raise PlanError(
                    f"there is no argument {name}", where=where, cure=f"Its arguments are {known}"
                )
        told = {n: s["default"] for n, s in self.arguments.items() if "default" in s} | {**given}
        for name, schema in self.arguments.items():
            if name not in told:
                raise PlanError(
                    f"the argument {name} is missing",
                    where=where,
                    cure=f"Give it: args='{{{name}: …}}'",
                )
            for wrong in violations(told[name], schema):
                place = ":".join((where, name, *wrong.path))
                raise PlanError(wrong.sentence, where=place)
        return {name: told[name] for name in self.arguments}


# -- filling -------------------------------------------------------------------------------------


def names_of(
    node: str,
    host: Mapping[str, Any],
    wave: Iterable[str] | None = None,
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return what placeholders stand for.

    :param node: id of the node that something is about
    :param host: its ``host``
    :param wave: ids of the nodes that are worked on together; None: it is not about them
    :param more: arguments of an operation
    """
    mine = {"node": node, "short": node.split(".")[0], "address": host.get("address") or ""}
    short = {} if wave is None else {"wave": [one.split(".")[0] for one in wave]}
    return {**(more or {}), **mine, **short}


def fill(value: Any, names: Mapping[str, Any]) -> Any:
    """Put names into texts; a text that is exactly a placeholder becomes what that stands for.

    :param value: plain data, filled at any depth
    :param names: placeholder to value; others stay as they are
    """
    if isinstance(value, str):
        whole = _PLACE.fullmatch(value)
        if whole and whole[1] in names:
            return names[whole[1]]
        return _PLACE.sub(lambda m: _text(names[m[1]]) if m[1] in names else m[0], value)
    if isinstance(value, Mapping):
        return {key: fill(item, names) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [fill(item, names) for item in value]
    return value


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


# -- reading -------------------------------------------------------------------------------------


def read_questions(entries: Any, where: str) -> tuple[Question, ...]:
    """Read ``before``.

    :param where: place of the list
    :raises PlanError: an entry is no check
    """
    found = []
    for place, entry in _entries(entries, where):
        if not isinstance(entry, Mapping) or not {*entry} - {"on"}:
            raise PlanError("is no check", where=place, cure="Write it as in health, or add `on`")
        check = {key: item for key, item in entry.items() if key != "on"}
        found.append(Question(check, _on(entry, place)))
    return tuple(found)


def read_actions(
    entries: Any, where: str, kinds: Collection[str], places: Collection[str] = NAMES
) -> tuple[Action, ...]:
    """Read a list of things to do.

    :param where: place of the list
    :param kinds: those that are allowed in it
    :param places: placeholders that are filled; any other one is refused
    :raises PlanError: an entry is none
    """
    return tuple(_action(entry, place, kinds, places) for place, entry in _entries(entries, where))


def read_operations(data: Any, where: str) -> dict[str, Operation]:
    """Read ``operations``: name to what is declared.

    :param where: place of the mapping
    :raises PlanError: one of them is none
    """
    if not data:
        return {}
    if not isinstance(data, Mapping):
        raise PlanError("is no mapping of names to operations", where=where)
    return {
        str(name): _operation(str(name), entry, f"{where}:{name}") for name, entry in data.items()
    }


def read_impact(data: Any, where: str) -> Impact:
    """Read what users may notice.

    :raises PlanError: a value is not one of :data:`EFFECTS`
    """
    told = data if isinstance(data, Mapping) else {}
    control, data_ = (str(told.get(key, "none")) for key in ("control", "data"))
    if not isinstance(data, Mapping) or {control, data_} - {*EFFECTS}:
        raise PlanError(f"an impact is one of {', '.join(EFFECTS)}", where=where)
    return Impact(control, data_, str(told.get("why") or ""))


def _operation(name: str, entry: Any, where: str) -> Operation:
    if not _OPERATION.fullmatch(name):
        raise PlanError("is no name of lower-case letters, digits and dashes", where=where)
    known = {"what", "arguments", "drain", "host", "impact", "prefetch", "reversible", "steps"}
    if not isinstance(entry, Mapping) or not entry.get("what") or not entry.get("steps"):
        raise PlanError("an operation needs what and steps", where=where)
    _only(entry, known, where)
    arguments = _arguments(entry.get("arguments") or {}, f"{where}:arguments")
    drain, host = (_flag(entry, key, where) for key in ("drain", "host"))
    kinds, places = (CALLS, RUNS, APPLIES, ASKS), (*NAMES, *arguments)
    steps = read_actions(entry["steps"], f"{where}:steps", kinds, places)
    impact = read_impact(entry["impact"], f"{where}:impact") if "impact" in entry else None
    told = _reversible(entry, where)
    first = read_actions(entry.get("prefetch"), f"{where}:prefetch", (CALLS,), places)
    # what takes the whole host away takes each of its roles away
    drain = drain or host
    return Operation(
        name, str(entry["what"]), steps, arguments, drain, impact, told, host, prefetch=first
    )


def _flag(entry: Mapping[str, Any], key: str, where: str) -> bool:
    told = entry.get(key, False)
    if not isinstance(told, bool):
        raise PlanError(f"{told!r} is not true or false", where=f"{where}:{key}")
    return told


def _arguments(data: Any, where: str) -> dict[str, Mapping[str, Any]]:
    if not isinstance(data, Mapping):
        raise PlanError("is no mapping of names to JSON schemas", where=where)
    found: dict[str, Mapping[str, Any]] = {}
    for name, schema in data.items():
        place = f"{where}:{name}"
        if not _ARGUMENT.fullmatch(str(name)) or name in NAMES:
            raise PlanError(
                f"{name!r} cannot be the name of an argument",
                where=where,
                cure=f"Use lower-case letters, digits and _, and none of {', '.join(NAMES)}",
            )
        try:
            if not isinstance(schema, Mapping):
                raise jsonschema.SchemaError("it is no mapping")
            jsonschema.Draft202012Validator.check_schema(schema)
        except jsonschema.SchemaError as err:
            raise PlanError(f"is no JSON schema: {err.message}", where=place) from None
        found[str(name)] = dict(schema)
    return found


def _action(entry: Any, where: str, kinds: Collection[str], places: Collection[str]) -> Action:
    mine = [kind for kind in kinds if isinstance(entry, Mapping) and kind in entry]
    if len(mine) != 1:
        raise PlanError(f"an entry has one of {', '.join(kinds)}", where=where)
    kind = mine[0]
    _only(entry, {kind, *_MANNER, *(("away",) if kind == ASKS else ())}, where)
    _refuse_unknown(entry, where, places)
    on = _on(entry, where)
    manner: dict[str, Any] = {
        "on": on,
        "what": str(entry.get("what") or ""),
        "limit": _seconds(entry, "limit", LIMIT, where),
        "idempotent": _idempotent(entry, where),
        "undo": _undo(entry, where),
        "reversible": _reversible(entry, where),
    }
    if kind in (APPLIES, ASKS):
        for key in ("args", "kwargs", "undo"):
            if entry.get(key):
                raise PlanError(f"{kind} takes no {key}", where=where)
        if kind == APPLIES and (entry[kind] is not True or on):
            raise PlanError("apply is true, and done on the node itself", where=where)
        if kind == APPLIES:
            return Action(kind, **manner)
        if not isinstance(entry[kind], Mapping) or not entry[kind]:
            raise PlanError("check is no check", where=where, cure="Write it as in health")
        if "away" in entry:
            manner["away"] = _seconds(entry, "away", 0.0, where)
        return Action(kind, check=dict(entry[kind]), **manner)
    args, kwargs = _called(entry, kind, where)
    if kind == RUNS and on:
        raise PlanError("a runner is called on the master, so `on` has no meaning", where=where)
    return Action(kind, _function(entry[kind], where), args, kwargs, **manner)


def _undo(entry: Mapping[str, Any], where: str) -> Action | None:
    undo, place = entry.get("undo"), f"{where}:undo"
    if not undo:
        return None
    kinds = [kind for kind in (CALLS, RUNS) if isinstance(undo, Mapping) and kind in undo]
    if len(kinds) != 1:
        raise PlanError("an undo has one of call, runner", where=place)
    _only(undo, {kinds[0], "args", "kwargs", "then"}, place)
    args, kwargs = _called(undo, kinds[0], place)
    on = _on(entry, where) if kinds[0] == CALLS else ""
    then = []
    for spot, one in _entries(undo.get("then"), f"{place}:then"):
        if not isinstance(one, Mapping) or CALLS not in one:
            raise PlanError(f"an entry has {CALLS}", where=spot)
        _only(one, {CALLS, "args", "kwargs"}, spot)
        then.append(Action(CALLS, _function(one[CALLS], spot), *_called(one, CALLS, spot)))
    return Action(kinds[0], _function(undo[kinds[0]], place), args, kwargs, on=on, then=tuple(then))


def _called(
    entry: Mapping[str, Any], kind: str, where: str
) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    args, kwargs = entry.get("args") or (), entry.get("kwargs") or {}
    if not isinstance(args, list | tuple) or not isinstance(kwargs, Mapping):
        raise PlanError("args is a list and kwargs a mapping", where=where)
    if kind == RUNS and args:
        raise PlanError("a runner takes kwargs only", where=where, cure="Name its arguments")
    return tuple(args), dict(kwargs)


def _entries(entries: Any, where: str) -> Iterable[tuple[str, Any]]:
    if not entries:
        return []
    if isinstance(entries, str | Mapping) or not isinstance(entries, Sequence):
        raise PlanError("is no list", where=where)
    return [(f"{where}:{number}", entry) for number, entry in enumerate(entries)]


def _only(entry: Mapping[Any, Any], known: Collection[str], where: str) -> None:
    # YAML 1.1 reads a bare `on` as true
    unknown = sorted("on (quote it)" if key is True else str(key) for key in {*entry} - {*known})
    if unknown:
        raise PlanError(f"has an unknown key {unknown[0]}", where=where)


def _refuse_unknown(value: Any, where: str, places: Collection[str]) -> None:
    """Refuse a placeholder that nothing fills: it would reach a function as it stands."""
    if isinstance(value, str):
        for name in _PLACE.findall(value):
            if name not in places:
                told = ", ".join(f"{{{one}}}" for one in places)
                raise PlanError(f"nothing fills {{{name}}}", where=where, cure=f"There are {told}")
    elif isinstance(value, Mapping):
        for item in value.values():
            _refuse_unknown(item, where, places)
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_unknown(item, where, places)


def _on(entry: Mapping[Any, Any], where: str) -> str:
    if True in entry:
        raise PlanError("has an unknown key on (quote it)", where=where)
    told = entry.get("on") or ""
    if told and not (isinstance(told, str) and _FUNCTION.fullmatch(told)):
        raise PlanError(f"{told!r} is no role", where=f"{where}:on", cure="Write service.role")
    return str(told)


def _function(value: Any, where: str) -> str:
    if not isinstance(value, str) or not _FUNCTION.fullmatch(value):
        raise PlanError(f"{value!r} is no function", where=where, cure="Write module.function")
    return value


def _seconds(entry: Mapping[str, Any], key: str, default: float, where: str) -> float:
    told = entry.get(key, default)
    if isinstance(told, bool) or not isinstance(told, int | float) or told <= 0:
        raise PlanError(f"{told!r} is not seconds, more than 0", where=f"{where}:{key}")
    return float(told)


def _idempotent(entry: Mapping[str, Any], where: str) -> bool:
    told = entry.get("idempotent", True)
    if not isinstance(told, bool):
        raise PlanError(f"{told!r} is not true or false", where=f"{where}:idempotent")
    return told


def _reversible(entry: Mapping[str, Any], where: str) -> str:
    told = entry.get("reversible", "")
    if told and told not in REVERSIBLE:
        raise PlanError(
            f"{told!r} is not one of {', '.join(REVERSIBLE)}", where=f"{where}:reversible"
        )
    return str(told)
