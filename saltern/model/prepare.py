"""Resolve once what nodes with the same classes have in common.

Nodes of a group differ in a few keys of their own files. What depends on none of these keys comes
to the same in all of them: the merged classes are resolved as far as that goes, once, and each
node then starts from the result.
"""

from __future__ import annotations

from typing import Any

from saltern.model.options import Options
from saltern.model.resolve import MissingReference, Resolver, TooLarge
from saltern.model.tree import NODES, TreeError

#: the keys that a node's own file writes: (key, what is written below it, or None) of each
Outline = tuple[tuple[str, Any], ...]


def outline(tree: dict[str, Any]) -> Outline:
    """Return which keys a tree writes: what merging it can change, whatever the values are."""
    return tuple(
        [
            (key, outline(value) if type(value) is dict and value else None)
            for key, value in tree.items()
        ]
    )


def prepared(tree: dict[str, Any], written: Outline, options: Options) -> dict[str, Any]:
    """Resolve what does not depend on some keys; all else stays as it is.

    Queries stay too, and references that fail: each node has to find out itself.

    :param tree: merged classes; not changed
    :param written: the keys that are still to be merged over the tree
    """
    out: dict[str, Any] = _Prepared(tree, written, options).known(tree, ())
    return out


class _Open(TreeError):
    """A value that is not known before the node's own file is merged."""


class _Prepared(Resolver):
    """A resolver that refuses to look at certain keys."""

    def __init__(self, tree: dict[str, Any], written: Outline, options: Options) -> None:
        super().__init__(tree, options)
        self._leaves: set[tuple[str, ...]] = set()
        self._all: set[tuple[str, ...]] = {()}
        self._note(written, ())

    def _note(self, written: Outline, path: tuple[str, ...]) -> None:
        for key, below in written:
            here = (*path, key)
            self._all.add(here)
            if below is None:
                self._leaves.add(here)
            else:
                self._note(below, here)

    def _changes(self, path: tuple[str, ...]) -> bool:
        """Whether a value at a path can change: a written key is at, above or below it."""
        return path in self._all or any(path[:n] in self._leaves for n in range(1, len(path)))

    def _walk(self, path: tuple[str, ...], ref: str) -> Any:
        if self._changes(path):
            raise _Open(ref)
        return super()._walk(path, ref)

    def known(self, node: Any, path: tuple[Any, ...]) -> Any:
        """Return a tree with all values resolved that can be; the same tree if none can."""
        if path in self._leaves:
            return node
        out = node
        for key, value in node.items() if type(node) is dict else enumerate(node):
            kind = type(value)
            if kind not in NODES:
                continue
            if kind is dict or kind is list:
                new = self.known(value, (*path, key))
            elif (*path, key) in self._all:
                continue
            else:
                try:
                    new = self._token(value, True)
                except (TreeError, MissingReference, TooLarge, RecursionError):
                    self._depth = 0
                    continue
            if new is not value:
                if out is node:
                    out = node.copy()
                out[key] = new
        return out
