"""Whether a master is fit to serve the model: asked before it starts, one sentence per fault."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from saltern.adapters import sitekey
from saltern.adapters.git import WORKTREE
from saltern.adapters.gpg import Gpg
from saltern.adapters.journal import Journal
from saltern.adapters.master import Site
from saltern.adapters.modelsite import PLUGIN, ModelSite, pillar_settings, short
from saltern.adapters.serving import Serving
from saltern.errors import PreflightError, SalternError

_CONFIG = "master configuration"


def read_config(directory: Path) -> dict[str, Any]:
    """Read a master's configuration as Salt does, its fragments included.

    :param directory: such as ``/etc/salt``
    :raises PreflightError: there is no configuration
    """
    import salt.config

    if not (directory / "master").exists() and not (directory / "master.d").is_dir():
        raise PreflightError(
            "there is no configuration of a Salt master",
            where=str(directory),
            cure="Name its directory with --config",
        )
    return dict(salt.config.master_config(str(directory / "master")))


def become_user(opts: Mapping[str, Any]) -> None:
    """Go on as the master's user, as ``salt-run`` does: what is written must be the master's.

    :param opts: the master's options
    :raises PreflightError: the caller is neither that user nor root
    """
    from salt.utils.verify import check_user

    user = str(opts.get("user") or "root")
    if not check_user(user):
        raise PreflightError(
            f"only {user} and root may do this", cure=f"Run it as the master's user, {user}"
        )


def faults(opts: Mapping[str, Any]) -> list[str]:
    """Return what keeps a master from serving the model as it should, one sentence each.

    :param opts: the master's options
    """
    return _told(opts, (_cache, _settings, _tops, _places, _secrets))


def misconfigured(opts: Mapping[str, Any]) -> list[str]:
    """Return the faults of the configuration alone, whatever lies on the disk.

    :param opts: the master's options
    """
    return _told(opts, (_cache, _settings, _tops))


def _told(
    opts: Mapping[str, Any], checks: tuple[Callable[[Mapping[str, Any]], Iterator[str]], ...]
) -> list[str]:
    found: list[str] = []
    for check in checks:
        try:
            found += check(opts)
        except SalternError as err:
            found.append(str(err))
    return list(dict.fromkeys(found))


def notes(opts: Mapping[str, Any]) -> list[str]:
    """Return what a working master should be told: revisions in use that it cannot serve.

    :param opts: the master's options
    """
    site = Site.of(opts, any_cluster=True)
    if not site.journal:
        return []
    model = ModelSite(site)
    found = []
    for revision in sorted(model.journal.in_use()):
        if not model.store.has(revision, options=model.options):
            cure = f"salt-run model.compile {revision}"
            if revision.startswith(f"{WORKTREE}-"):
                cure = "salt-run state.orch deploy"  # the tree that it was is no more
            told = f"revision {short(revision)} is in use and cannot be served: run `{cure}`."
            found.append(told)
    return found


def _cache(opts: Mapping[str, Any]) -> Iterator[str]:
    if opts.get("pillar_cache"):
        yield str(
            PreflightError(
                "pillar_cache keeps pillars, their secrets and their errors until they expire",
                where=f"{_CONFIG}, pillar_cache: {opts['pillar_cache']}",
                cure="Remove it, or set it to False",
            )
        )


def _settings(opts: Mapping[str, Any]) -> Iterator[str]:
    """The ext_pillar and the ``saltern`` block say the same."""
    site = Site.of(opts, any_cluster=True)
    settings = pillar_settings(opts)
    serving = Serving.build(settings)
    if bool(site.journal) != bool(serving.journal):
        has, misses = (
            ("the saltern block", f"ext_pillar {PLUGIN}")
            if site.journal
            else (f"ext_pillar {PLUGIN}", "the saltern block")
        )
        yield _differ(f"{has} names a journal and {misses} none")
        return
    pairs = {
        "journal": (site.journal, serving.journal),
        "store": (str(site.store), serving.store),
    }
    if not site.journal:
        pairs = {"model": (str(site.model), serving.path)}
    elif site.site_key or serving.site_key:
        pairs["site_key"] = (site.site_key, serving.site_key)
    for name, (here, there) in pairs.items():
        if here != there:
            yield _differ(f"saltern:{name} and the ext_pillar's differ")
    if dict(site.options) != dict(serving.options):
        yield _differ("saltern:options and the options of the ext_pillar differ")


def _tops(opts: Mapping[str, Any]) -> Iterator[str]:
    """master_tops asks the same model as the ext_pillar."""
    tops = opts.get("master_tops")
    block = tops.get(PLUGIN) if isinstance(tops, Mapping) else None
    if not isinstance(block, Mapping):
        yield str(
            PreflightError(
                f"master_tops has no {PLUGIN}, so no minion has a top file",
                where=_CONFIG,
                cure="Install etc/master.d/20-saltern-model.conf",
            )
        )
        return
    top, pillar = Serving.build(block), Serving.build(pillar_settings(opts))
    for name in ("store", "journal", "path", "options"):
        if getattr(top, name) != getattr(pillar, name):
            yield _differ(f"master_tops and ext_pillar have another {name}")
    if top.journal and top.key_file() != pillar.key_file():
        yield _differ("master_tops and ext_pillar have another site_key")


def _differ(sentence: str) -> str:
    return str(PreflightError(sentence, where=_CONFIG, cure="Write the same value in both places"))


def _places(opts: Mapping[str, Any]) -> Iterator[str]:
    """Store, journal and key are there, and the master's user can use them."""
    site = Site.of(opts, any_cluster=True)
    if not site.journal:
        return
    model = ModelSite(site)
    may = _access(str(opts.get("user") or "root"))
    cure = "Run `saltern master prepare` as the master's user"
    store = Path(site.store)
    if not store.is_dir():
        yield str(PreflightError("the store does not exist", where=str(store), cure=cure))
    elif not may(store, os.R_OK | os.W_OK | os.X_OK):
        yield _unwritable("the store", store, opts)
    path = model.journal.path
    # SQLite writes beside its file, also to read
    if (
        path is not None
        and path.exists()
        and not (may(path, os.R_OK | os.W_OK) and may(path.parent, os.R_OK | os.W_OK | os.X_OK))
    ):
        yield _unwritable("the journal", path, opts)
    else:
        # opened anew: the process's own connection has been looked at before
        Journal(site.journal).deployed()
    sitekey.read(Serving.build(pillar_settings(opts)).key_file())


def _unwritable(what: str, path: Path, opts: Mapping[str, Any]) -> str:
    user = opts.get("user") or "root"
    return str(
        PreflightError(
            f"the master's user {user} cannot write {what}",
            where=str(path),
            cure=f"chown -R {user} {path}",
        )
    )


def _access(user: str) -> Callable[[Path, int], bool]:
    """How to ask whether a user may use a file; asked as that user or as root."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise PreflightError(
            f"the master's user {user} does not exist", where=_CONFIG, cure="Set user to one"
        ) from None
    if os.geteuid() == entry.pw_uid or os.geteuid() != 0 or entry.pw_uid == 0:
        return os.access
    groups = set(os.getgrouplist(user, entry.pw_gid))

    def may(path: Path, mode: int) -> bool:
        try:
            status = path.stat()
        except OSError:
            return False
        shift = 6 if status.st_uid == entry.pw_uid else 3 if status.st_gid in groups else 0
        return status.st_mode >> shift & mode == mode

    return may


def _secrets(opts: Mapping[str, Any]) -> Iterator[str]:
    """The GPG home opens, where the ext_pillar names one."""
    home = Serving.build(pillar_settings(opts)).gpg_home
    if not home:
        return
    where = f"{home}"
    if not Path(home).is_dir():
        yield str(
            PreflightError(
                "the GPG home does not exist", where=where, cure="Copy the master's key ring there"
            )
        )
    elif not Gpg(home).secret_keys():
        yield str(
            PreflightError(
                "the GPG home has no secret key, so no secret of the model can be opened",
                where=where,
                cure="Copy the master's key ring there, owned by the master's user",
            )
        )
