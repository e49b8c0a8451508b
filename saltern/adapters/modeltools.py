"""The model's tools on a master: at a revision of its repository, with the formulas beside it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from saltern.adapters.git import WORKTREE, ModelRepo
from saltern.adapters.gpg import Gpg
from saltern.adapters.master import Site
from saltern.adapters.modelsite import formulas_beside
from saltern.model import Inventory, lint, secrets
from saltern.model.explain import Explanation, explain
from saltern.model.options import Options
from saltern.model.schema import existing_schema, formulas_path


@contextlib.contextmanager
def inventory_at(site: Site, revision: str | None = None) -> Iterator[Inventory]:
    """Give the model of a master at a revision.

    :param site: the master's settings
    :param revision: git ref, or ``worktree``; default ``saltern:revision``, and the files as they
        are on a master without revisions
    :raises ModelError: no such revision, or the tree cannot be read
    """
    ref = str(revision or (site.revision if site.journal else WORKTREE))
    if ref == WORKTREE:
        yield Inventory(site.model, **site.options)
        return
    repo = ModelRepo(site.model, Options.build(site.options))
    with repo.checkout(repo.resolve(ref)) as top:
        yield Inventory(top, **site.options)


def lint_report(
    site: Site,
    clusters: Sequence[str] | None,
    revision: str | None = None,
    rules: Sequence[str] | None = None,
) -> lint.Report:
    """Run the linter; see :func:`saltern.model.lint.run`."""
    with inventory_at(site, revision) as inventory:
        return lint.run(inventory, clusters, formulas_beside(site), rules=rules)


def explained(site: Site, node: str, key: str, revision: str | None = None) -> Explanation:
    """Explain a key of a node; see :func:`saltern.model.explain.explain`."""
    with inventory_at(site, revision) as inventory:
        return explain(inventory, node, key, formulas_beside(site))


def schema_of(site: Site, role: str) -> dict[str, Any]:
    """Return the JSON schema of a role.

    :raises ModelError: it has none, or it is broken
    """
    return existing_schema(formulas_path(Inventory(site.model), formulas_beside(site)), role)


def schema_report(
    site: Site, node: str | None, cluster: str | None, revision: str | None = None
) -> lint.Report:
    """Check data by the schemas of its roles; see :func:`saltern.model.lint.check_data`."""
    with inventory_at(site, revision) as inventory:
        return lint.check_data(inventory, node, cluster, formulas_beside(site))


def secret_faults(
    site: Site, cluster: str, gpg_home: str | None, revision: str | None = None
) -> list[secrets.Fault]:
    """Check the secrets of a cluster; see :func:`saltern.model.secrets.check`.

    :param gpg_home: GnuPG home that has to open them; None: nothing is opened
    """
    gpg = Gpg(gpg_home) if gpg_home else None
    with inventory_at(site, revision) as inventory:
        if gpg is None:
            return secrets.check(inventory, cluster)
        return secrets.check(inventory, cluster, gpg.decrypt, gpg.recipients)
