"""Resolve the references of one node's merged tree: lazily, each reference text once.

There are two ways through a tree. The fast one copies containers whole and knows no key paths;
it gives up at the first fault. Only then the careful one goes leaf by leaf, and notes every fault
with its path.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from saltern.model.options import Options
from saltern.model.plan import Plan, Plans
from saltern.model.query import Asked, ExportIndex, Query, QueryError
from saltern.model.tree import (
    CONSTANT,
    NODES,
    OVERRIDE,
    Layers,
    Ref,
    Text,
    TreeError,
    chained,
    legible,
    merge,
    seal,
    split_path,
)

#: limits of one node that no model comes near: references that lead to references, levels of
#: the result, values that references bring in, and characters of all texts with references
MAX_CHAIN = 64
MAX_LEVELS = 150
MAX_BROUGHT = 400_000
MAX_TEXT = 32 * 1024 * 1024
#: faults that are looked for in one node
MAX_FAULTS = 300

_UNKNOWN = object()
_TOO_LARGE = "references multiply the data beyond all measure"


class MissingReference(Exception):
    """``ref`` (text without ``${}``) leads nowhere."""

    def __init__(self, ref: str) -> None:
        super().__init__(ref)
        self.ref = ref


class TooLarge(Exception):
    """References multiply the data beyond all measure."""


class _Enough(Exception):
    """More faults than anybody reads."""


@dataclass(frozen=True)
class Fault:
    """One key that cannot be resolved; ``ref`` is set when a reference has no value."""

    path: tuple[str, ...]
    sentence: str
    ref: str = ""


def _placeholder(ref: str) -> str | None:
    """Stand-in for a secret that has no value yet; it is treated as the ciphertext it will be."""
    prefix, _, name = ref.partition(":")
    if prefix != "_secret":
        return None
    return f"-----BEGIN PGP MESSAGE-----\n\nplaceholder of {name}\n-----END PGP MESSAGE-----"


class Resolver:
    """Resolves values of one tree.

    :param root: merged tree (see :mod:`saltern.model.tree`)
    :param options: merge options
    :param default: asked for the value of a missing reference before it is an error; returns
        None when it has none (used to find the secrets that a model needs)
    :param exports: gives the exports of all nodes; None refuses inventory queries
    :param environment: environment of the node, which its queries see
    :param plans: plans of what the tree shares with other nodes

    ``queried`` collects what the queries that were resolved depend on.
    """

    def __init__(
        self,
        root: dict[str, Any],
        options: Options,
        default: Callable[[str], Any] | None = None,
        *,
        exports: Callable[[], ExportIndex] | None = None,
        environment: str = "",
        plans: Plans | None = None,
    ) -> None:
        self.root = root
        self.options = options
        self.faults: list[Fault] = []
        self.queried: set[Asked] = set()
        self._default = default or (_placeholder if options.placeholders else None)
        self._exports = exports
        self._environment = environment
        self._plans: Plans = {} if plans is None else plans
        self._values: dict[str, Any] = {}
        self._failed: dict[str, MissingReference | TreeError] = {}
        self._folded: dict[int, Any] = {}
        self._pending: list[str] = []
        self._open: set[int] = set()
        self._depth = 0
        self._brought = 0
        self._text_size = 0

    def value(self, *path: str) -> Any:
        """Return the fully resolved value at a key path.

        :raises MissingReference: the path, or a reference on the way, has no value
        :raises TreeError: a value on the way cannot be merged
        """
        before = len(self.faults)
        value = self.plain(self._walk(path, ":".join(path)), path)
        self._raise_first(before, path)
        return value

    def plain(self, node: Any, path: tuple[str, ...] = ()) -> Any:
        """Return fresh plain data for a tree; what fails is None and noted in ``faults``.

        :param path: where the tree is, for the faults
        """
        return self._render(node, path, share=False)

    def shared(self, node: Any, path: tuple[str, ...] = ()) -> Any:
        """Return plain data like :meth:`plain`, faster, but to be read only.

        What holds no reference is part of the tree itself, which other nodes share: a compiler
        that packs the data at once needs no copy of it.
        """
        return self._render(node, path, share=True)

    def _render(self, node: Any, path: tuple[str, ...], *, share: bool) -> Any:
        kind = type(node)
        if kind is str or kind is int or kind is bool or node is None:
            return node
        depth = self._depth
        try:
            if kind is dict or kind is list:
                return self._fresh(node, share)
            return self._token(node, share)
        except (MissingReference, TreeError, RecursionError):
            self._depth = depth
        except TooLarge:
            self._depth = depth
            self.faults.append(Fault(path, _TOO_LARGE))
            return None
        try:
            return self._careful(node, path)
        except TooLarge:
            self.faults.append(Fault(path, _TOO_LARGE))
        except RecursionError:
            self.faults.append(Fault(path, "values and references are nested too deeply"))
        except _Enough:
            pass
        return None

    # --- the fast way ---------------------------------------------------------------------

    def _fresh(self, node: Any, share: bool) -> Any:
        """Copy a container and resolve what is in it."""
        plan = self._plans.get(id(node))
        if plan is not None:
            if plan.pure:
                return node if share else plan.copy()
            return self._follow(plan, share)
        self._brought += len(node)
        out = node.copy()
        for key, value in node.items() if type(node) is dict else enumerate(node):
            kind = type(value)
            if kind in NODES:
                if kind is dict or kind is list:
                    out[key] = self._fresh(value, share)
                else:
                    out[key] = self._token(value, share)
        return out

    def _follow(self, plan: Plan, share: bool) -> Any:
        """The same for a container that has a plan."""
        out = plan.node.copy()
        if not share:
            for key, flat in plan.flats:
                out[key] = flat.copy()
            for key, deep in plan.deep:
                out[key] = deep.copy()
        for key, mixed in plan.mixed:
            out[key] = self._follow(mixed, share)
        values = self._values
        for key, text, path in plan.refs:
            value = values.get(text, _UNKNOWN)
            if value is _UNKNOWN:
                value = self._lookup(text, path)
            kind = type(value)
            out[key] = self._bring(value, share) if kind is dict or kind is list else value
        for key, token in plan.tokens:
            out[key] = self._token(token, share)
        return out

    def _token(self, token: Any, share: bool) -> Any:
        value = self.top(token)
        kind = type(value)
        return self._bring(value, share) if kind is dict or kind is list else value

    def _bring(self, value: Any, share: bool) -> Any:
        """Copy a container that a reference or a merge of layers led to."""
        plan = self._plans.get(id(value))
        if plan is not None:
            self._brought += plan.size
        if self._brought > MAX_BROUGHT:
            raise TooLarge
        if self._depth > MAX_CHAIN:
            raise TreeError("a value contains itself")  # or not: the careful way tells
        self._depth += 1
        out = self._fresh(value, share)
        self._depth -= 1
        return out

    # --- the careful way ------------------------------------------------------------------

    def _careful(self, node: Any, path: tuple[str, ...]) -> Any:
        kind = type(node)
        try:
            if kind is Ref or kind is Text or kind is Layers or kind is Query:
                node = self.top(node)
                kind = type(node)
            if kind is not dict and kind is not list:
                return node
            if id(node) in self._open:
                raise TreeError("the value contains itself")
            if len(path) > MAX_LEVELS:
                raise TreeError(f"nested more than {MAX_LEVELS} levels deep")
        except MissingReference as err:
            self.faults.append(
                Fault(path, f"reference ${{{legible(err.ref)}}} has no value", err.ref)
            )
            return self._next_fault()
        except TreeError as err:
            self.faults.append(Fault(err.path or path, err.sentence))
            return self._next_fault()
        self._brought += len(node)
        if self._brought > 2 * MAX_BROUGHT:  # the fast way may have spent the first half
            raise TooLarge
        self._open.add(id(node))
        try:
            if kind is dict:
                return {
                    key: value if type(value) is str else self._careful(value, (*path, str(key)))
                    for key, value in node.items()
                }
            return [
                item if type(item) is str else self._careful(item, (*path, str(n)))
                for n, item in enumerate(node)
            ]
        finally:
            self._open.discard(id(node))

    def _next_fault(self) -> None:
        if len(self.faults) >= MAX_FAULTS:
            raise _Enough

    # --- one token ------------------------------------------------------------------------

    def top(self, node: Any) -> Any:
        """Resolve the outermost level only: the result is a dict, list or scalar."""
        kind = type(node)
        if kind is Ref:
            if node.text is not None:
                return self._lookup(node.text, node.path)
            text = "".join([self._string(part) for part in node.parts])
            return self._lookup(text, split_path(text))
        if kind is Text:
            return self._join_text(node)
        if kind is Layers:
            known = self._folded.get(id(node))
            if known is None:
                # the node is kept beside its value: an id is unique only while it lives
                known = self._folded[id(node)] = (node, *self._folding(node))
            if known[2] is not None:
                raise MissingReference(known[2])
            return known[1]
        if kind is Query:
            return self._ask(node)
        return node

    def _join_text(self, node: Text) -> str:
        parts = [part if type(part) is str else self._string(part) for part in node.parts]
        text = "".join(parts)
        self._text_size += len(text)
        if self._text_size > MAX_TEXT:
            raise TooLarge
        if "$" in text and self.options.strict:
            for mark in ("${", "$["):
                if text.count(mark) != sum(part.count(mark) for part in parts):
                    raise TreeError(f"parts of the text join to {mark}, which nothing resolves")
        return text

    def _ask(self, query: Query) -> Any:
        if self._exports is None:
            raise TreeError("inventory queries are for parameters; exports must not depend on one")
        self.queried |= query.asked(self._environment)
        try:
            return query.answer(
                self._exports(),
                self._environment,
                self._own,
                ignore_failed_node=self.options.inventory_ignore_failed_node,
                ignore_failed_render=self.options.inventory_ignore_failed_render,
            )
        except QueryError as err:
            raise TreeError(f"inventory query: {err.sentence}") from None

    def _own(self, path: tuple[str, ...]) -> Any:
        """What ``self:`` of a query means."""
        return self._whole(self._lookup(":".join(path), path))

    def _string(self, part: str | Ref) -> str:
        if isinstance(part, str):
            return part
        value = self.top(part)
        return value if isinstance(value, str) else str(self._whole(value))

    def _whole(self, node: Any) -> Any:
        """Resolve a value that is part of another; its first fault is raised, not noted."""
        kind = type(node)
        if kind is not dict and kind is not list:
            return node
        if self._open:  # the careful way is being gone, which knows what it is inside of
            before = len(self.faults)
            value = self._careful(node, ())
            self._raise_first(before, ())
            return value
        if self._depth > MAX_CHAIN:
            raise TreeError("the value contains itself")
        self._depth += 1
        value = self._fresh(node, True)
        self._depth -= 1
        return value

    def _raise_first(self, before: int, path: tuple[str, ...]) -> None:
        """Raise the first of the faults noted since, and forget them."""
        if len(self.faults) > before:
            fault = self.faults[before]
            del self.faults[before:]
            if fault.ref:
                raise MissingReference(fault.ref)
            # without a path of its own, the place is that of the text it is a part of
            raise TreeError(fault.sentence, fault.path if path else ())

    def _lookup(self, ref: str, path: tuple[str, ...]) -> Any:
        """Return what a reference leads to, resolved at its outermost level."""
        value = self._values.get(ref, _UNKNOWN)
        if value is not _UNKNOWN:
            return value
        if ref in self._pending:
            cycle = [*self._pending[self._pending.index(ref) :], ref]
            raise TreeError(f"references form a cycle: {chained(f'${{{r}}}' for r in cycle)}")
        if len(self._pending) >= MAX_CHAIN:
            raise TreeError(f"more than {MAX_CHAIN} references lead to each other")
        failed = self._failed.get(ref)
        if failed is not None:
            # without the way it came the first time, which would grow with each
            raise failed.with_traceback(None)
        self._pending.append(ref)
        try:
            value = self.top(self._walk(path, ref))
        except (MissingReference, TreeError) as err:
            self._failed[ref] = err
            raise
        finally:
            self._pending.pop()
        self._values[ref] = value
        return value

    def _walk(self, path: tuple[str, ...], ref: str) -> Any:
        node: Any = self.root
        for part in path:
            node = self.top(node)
            try:
                node = node[int(part)] if isinstance(node, list) else node[part]
            except (KeyError, IndexError, TypeError, ValueError):
                found = self._default(ref) if self._default else None
                if found is None:
                    raise MissingReference(ref) from None
                return found
        return node

    def _folding(self, layers: Layers) -> tuple[Any, str | None]:
        """What layers come to, or which reference in them has no value.

        That one is kept as well: what contains itself has layers of the same layers, and each of
        these would look for it twice as often as the one before.
        """
        try:
            return self._fold(layers), None
        except MissingReference as err:
            return None, err.ref

    def _fold(self, layers: Layers) -> Any:
        """Merge the layers of one key, lowest first (``ValueList.render`` of reclass)."""
        options = self.options
        out: Any = None
        constant = False
        skipped: MissingReference | None = None
        last = len(layers.items) - 1
        for n, (kind, node) in enumerate(layers.items):
            try:
                new = self.top(node)
            except MissingReference as err:
                if (
                    not options.ignore_overwritten_missing_references
                    or isinstance(out, dict | list)
                    or n == last
                ):
                    raise
                new, skipped = None, err
            if isinstance(node, Ref | Layers):
                new = seal(new)
            if constant:
                if options.strict_constant_parameters:
                    raise TreeError("a constant (=) value is set again")
                continue
            out = new if out is None or kind == OVERRIDE else self._join(out, new)
            constant = kind == CONSTANT
        if skipped is not None and isinstance(out, dict | list):
            raise skipped
        return out

    def _join(self, low: Any, high: Any) -> Any:
        options = self.options
        if isinstance(low, dict) and isinstance(high, dict):
            return merge(low, high)
        if isinstance(low, list) and isinstance(high, list):
            return low + high
        if isinstance(low, dict | list):
            allowed = (
                options.allow_scalar_over_dict
                if isinstance(low, dict)
                else options.allow_scalar_over_list
            )
            if not isinstance(high, dict | list) and (
                allowed or (options.allow_none_override and high is None)
            ):
                return high
        elif isinstance(high, dict):
            if options.allow_dict_over_scalar:
                return high
        elif isinstance(high, list):
            if options.allow_list_over_scalar:
                return [low, *high]
        else:
            return high
        raise TreeError(f"a {_kind(high)} cannot be merged over a {_kind(low)}")


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return "dictionary"
    if isinstance(value, list):
        return "list"
    return "null" if value is None else "scalar"
