"""What the pillar and top plugins are configured with, and what they answer.

Two ways: ``store`` and ``journal`` serve each node the revision that it is pinned to, or its
cluster's; ``path`` compiles a tree as it is, for a host without a master.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saltern.adapters import previews, sitekey
from saltern.adapters.gpg import Gpg
from saltern.errors import PreflightError, SalternError, SecretError
from saltern.model import serve
from saltern.model.options import Options

if TYPE_CHECKING:
    from saltern.model.store import Revision

#: the suffix that Salt gives a master's id when it renders an orchestration
MASTER_SUFFIX = "_master"
#: the role of such a host
MASTER_ROLE = "salt.master"
RAISE, DENY = "raise", "deny"


def site_key_file(journal: str, site_key: str | Path | None = None) -> Path | None:
    """Return where the site key lies: as configured, else beside an SQLite journal.

    :param journal: URL of the journal
    :param site_key: the configured file
    """
    if site_key:
        return Path(site_key)
    scheme, _, path = journal.partition("://")
    return Path(path[1:]).parent / sitekey.NAME if scheme.startswith("sqlite") else None


@dataclass(frozen=True)
class Serving:
    """The settings of the ext_pillar ``saltern_model``; the top takes the same ones.

    :param store: directory of compiled revisions, with
    :param journal: URL of the journal of pins, or
    :param path: model tree that is compiled as it is
    :param keystore: directory of key files
    :param gpg_home: GnuPG home with the key that opens the model's secrets
    :param site_key: file of the site key (default: beside the SQLite journal)
    :param on_error: ``deny`` or ``raise``
    :param options: options of the engine
    """

    store: str = ""
    journal: str = ""
    path: str = ""
    keystore: str = ""
    gpg_home: str = ""
    site_key: str = ""
    on_error: str = DENY
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def build(cls, settings: Mapping[str, Any]) -> Serving:
        """Read the settings; what is no setting of ours is an option of the engine.

        :param settings: as written in the master's configuration
        :raises PreflightError: a setting is missing, doubled or wrong
        :raises ModelError: an unknown option of the engine
        """
        own = {name: settings.get(name) for name in cls.__annotations__ if name != "options"}
        options = {name: value for name, value in settings.items() if name not in own}
        texts = {}
        for name, value in own.items():
            if value is None:
                continue
            if not isinstance(value, str) or not value:
                raise PreflightError(
                    f"{name} must be a text", where="saltern_model", cure="Write it in quotes"
                )
            texts[name] = value
        built = cls(**texts, options=options)
        fault, cure = "", ""
        if built.on_error not in (RAISE, DENY):
            fault, cure = f"on_error cannot be {built.on_error!r}", "Set it to raise or deny"
        elif bool(built.store) != bool(built.journal):
            fault, cure = "store and journal go together", "Set both of them"
        elif bool(built.store) == bool(built.path):
            fault = "it has both a store and a path" if built.path else "it has nothing to serve"
            cure = "Set either store and journal, or path"
        if fault:
            raise PreflightError(fault, where="saltern_model", cure=cure)
        Options.build(options)
        return built

    def pillar(self, minion_id: str, environment: str = "") -> dict[str, Any]:
        """Return the pillar of a minion, whole.

        :param minion_id: id as Salt authenticated it
        :param environment: pillar environment that it asks for; looked at when it is that of a
            preview (:mod:`saltern.adapters.previews`)
        :raises UnknownNodeError: no served revision has it
        :raises SalternError: anything else that keeps the pillar from being whole
        """
        if not self.path:
            if environment.startswith(previews.PREFIX):
                granted = previews.Previews(Path(self.store)).revision(environment, minion_id)
                return self.pillar_of(self._stored(granted), minion_id)
            return self.pillar_of(self.revision(minion_id), minion_id)
        return serve.pillar(
            self.path,
            minion_id,
            decrypt=self._decrypt(),
            keystore=self.keystore or None,
            options=self.options,
        )

    def pillar_of(self, revision: Revision, minion_id: str) -> dict[str, Any]:
        """Return the pillar that a minion would get from a revision.

        :raises SalternError: as :meth:`pillar`
        """
        return serve.serve_pinned(
            revision,
            minion_id,
            decrypt=self._decrypt(),
            keystore=self.keystore or None,
            key=sitekey.read(self.key_file()),
        )

    def _decrypt(self) -> serve.Decrypt | None:
        return Gpg(self.gpg_home).decrypt if self.gpg_home else None

    def top(self, opts: Mapping[str, Any]) -> dict[str, list[str]]:
        """Return what the minion that sent these options applies.

        :param opts: options that a minion sent; of a tree (``path``) only the id is looked at
        :raises SalternError: it is another minion than it says, or its model is broken
        """
        if self.path:
            return serve.top(self.path, opts["id"], options=self.options)
        name = serve.asking_node(opts, sitekey.read(self.key_file()))
        return serve.top_pinned(self.revision(name), name)

    def is_master(self, minion_id: str) -> bool:
        """Whether this is a master that renders an orchestration; it is served nothing."""
        name, suffix, rest = minion_id.rpartition(MASTER_SUFFIX)
        if rest or not suffix:
            return False
        try:
            if self.path:
                roles = serve.top(self.path, name, options=self.options)
            else:
                roles = serve.top_pinned(self.revision(name), name)
        except SalternError:  # told when the id itself is looked up
            return False
        return any(MASTER_ROLE in applications for applications in roles.values())

    def revision(self, minion_id: str) -> Revision:
        """Open the revision that a minion is served.

        :raises UnknownNodeError: there is none for it
        :raises JournalError: the journal cannot be read
        :raises ModelError: the revision is not in the store, or was made by another engine
        """
        # imported here: a host without a master has no database library
        from saltern.adapters.journal import open_journal

        return self._stored(open_journal(self.journal).served(minion_id))

    def _stored(self, revision: str) -> Revision:
        from saltern.model.store import Store

        return Store(self.store).open(revision, options=Options.build(self.options))

    def key_file(self) -> Path:
        """Return the file of the site key.

        :raises SecretError: none is configured and the journal is no file
        """
        found = site_key_file(self.journal, self.site_key)
        if found is None:
            raise SecretError(
                "no site key is set", where="saltern_model", cure="Set site_key to a file"
            )
        return found
