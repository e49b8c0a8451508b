"""From a git ref to a stored revision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from saltern.adapters.git import WORKTREE, ModelRepo
from saltern.adapters.mirror import Mirror
from saltern.errors import ModelError
from saltern.model.compiler import Progress, compile_tree, source_ids, tree_id
from saltern.model.inventory import Inventory
from saltern.model.options import Options
from saltern.model.store import ENGINE, Revision, Store, options_hash

#: a work tree that changes while it is compiled is compiled again
_ATTEMPTS = 3


def compile_revision(
    repo_path: str | Path,
    ref: str,
    store: Store,
    options: Options | Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    *,
    full: bool = False,
) -> Revision:
    """Return the revision of a ref, compiled when the store does not have it.

    :param repo_path: model tree, in a git repository unless ``ref`` is ``worktree``
    :param ref: as for :meth:`saltern.adapters.git.ModelRepo.resolve`
    :param store: where revisions are
    :param options: engine options
    :param progress: told how many nodes are done
    :param full: compile every node, also when the store has the revision
    :raises ModelError: no such ref, the revision does not compile, the store cannot be written
    """
    built = options if isinstance(options, Options) else Options.build(options or {})
    repo = ModelRepo(repo_path, built)
    store.prepare()
    for _ in range(_ATTEMPTS):
        id = repo.resolve(ref)
        if not full:
            stored = _stored(store, id, built)
            if stored is not None:
                return stored
        with repo.checkout(id, Mirror(store.path / "checkout")) as tree:
            base = None if full else best_base(repo, id, store, built)
            error = None
            try:
                inventory = Inventory(tree, **asdict(built))
                sources = source_ids(inventory, repo.sources(id))
                revision = compile_tree(
                    inventory,
                    id,
                    store,
                    base=base,
                    sources=sources,
                    progress=progress,
                    replace=full,
                )
            except ModelError as err:
                error = _told(err, str(tree), id)
            if not id.startswith(f"{WORKTREE}-") or tree_id(repo.sources(id)) == id:
                if error is not None:
                    raise error
                return revision
    raise ModelError(
        "the model keeps changing while it is compiled",
        where=str(repo.path),
        cure="Compile a commit, or wait until the tree is at rest",
    )


def _told(error: ModelError, tree: str, id: str) -> ModelError:
    """An error that says the revision in place of the directory it was exported to."""
    if id.startswith(f"{WORKTREE}-"):
        return error
    shown = f"revision {id[:12]}"
    sentence, where = (
        text.replace(f"{tree}/", f"{shown}, ").replace(tree, shown)
        for text in (error.sentence, error.where)
    )
    return ModelError(sentence, where=where or shown, cure=error.cure)


def best_base(repo: ModelRepo, id: str, store: Store, options: Options) -> Revision | None:
    """Return the stored revision that a compile can take most from: the nearest ancestor, else
    the newest one.

    :param repo: the model's repository
    :param id: full revision id that will be compiled
    :param store: where revisions are
    :param options: engine options of the compile
    """
    wanted = options_hash(options)
    usable = [
        info.id
        for info in store.revisions()
        if info.engine == ENGINE and info.options == wanted and info.id != id
    ]
    if not usable:
        return None
    nearest: list[str] = []
    if not id.startswith(f"{WORKTREE}-"):
        stored = set(usable)
        nearest = [other for other in repo.ancestors(id) if other in stored][:1]
    for candidate in [*nearest, *usable[:2]]:
        try:
            return store.open(candidate, options=options)
        except ModelError:
            continue
    return None


def _stored(store: Store, id: str, options: Options) -> Revision | None:
    try:
        revision = store.open(id, options=options)
    except ModelError:
        return None
    return revision if store.complete(revision) else None
