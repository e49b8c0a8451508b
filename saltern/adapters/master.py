"""The master's side of a run: its settings, its model, its clock and where progress is told."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TextIO

import salt.utils.event
from salt.utils.user import get_specific_user

from saltern.errors import PreflightError

#: Where the model lives on the master unless ``saltern:model`` says otherwise.
MODEL = "/srv/saltern/model"
#: Where release artifacts lie on the master unless ``saltern:artifacts`` says otherwise.
ARTIFACTS = "/srv/saltern/artifacts"
#: Where compiled revisions are kept unless ``saltern:store`` says otherwise.
STORE = "/srv/saltern/store"
#: All events of this suite are below this tag.
TAG = "saltern"


@dataclass(frozen=True)
class Site:
    """The ``saltern`` block of the master's configuration.

    .. code-block:: yaml

        saltern:
          cluster: demo-core             # the one meant when a command names none
          model: /srv/saltern/model
          revision: HEAD                 # what a deployment takes: a git ref, or worktree
          store: /srv/saltern/store
          journal: sqlite:////srv/saltern/journal/journal.db
          site_key: /srv/saltern/journal/site.key
          artifacts: /srv/saltern/artifacts
          options: {}                    # settings of the merge engine

    Without ``journal`` there are no revisions: the tree at ``model`` is used as it is.
    """

    cluster: str = ""
    model: Path = Path(MODEL)
    artifacts: Path = Path(ARTIFACTS)
    options: Mapping[str, Any] = field(default_factory=dict)
    store: Path = Path(STORE)
    journal: str = ""
    revision: str = "HEAD"
    site_key: str = ""
    provision: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls, opts: Mapping[str, Any], cluster: str | None = None, *, any_cluster: bool = False
    ) -> Site:
        """Read it from the master's options.

        :param opts: ``__opts__`` of a runner
        :param cluster: the cluster that a command names, if it does
        :param any_cluster: no cluster need be named
        :raises PreflightError: no cluster is named anywhere, or the block has a wrong key or value
        """
        block = opts.get("saltern") or {}
        where = "master configuration"
        if not isinstance(block, Mapping):
            raise PreflightError("saltern must be a mapping", where=where)
        known = [item.name for item in fields(cls)]
        unknown = sorted(str(name) for name in block if name not in known)
        if unknown:
            raise PreflightError(
                f"unknown key saltern:{unknown[0]}",
                where=where,
                cure=f"Use one of: {', '.join(sorted(known))}",
            )
        mappings = {name: block.get(name) or {} for name in ("options", "provision")}
        for name, value in mappings.items():
            if not isinstance(value, Mapping):
                raise PreflightError(f"saltern:{name} must be a mapping", where=where)
            mappings[name] = dict(value)
        texts = {name: block[name] for name in known if name not in mappings and block.get(name)}
        for name, value in texts.items():
            if not isinstance(value, str):
                raise PreflightError(f"saltern:{name} must be a text", where=where)
        name = str(cluster or texts.get("cluster", ""))
        if not name and not any_cluster:
            raise PreflightError(
                "no cluster is named", cure="Give cluster=NAME or set saltern:cluster on the master"
            )
        for path in ("model", "artifacts", "store"):
            if path in texts:
                texts[path] = Path(texts[path])
        return cls(**{**texts, **mappings, "cluster": name})


def who(opts: Mapping[str, Any], user: str = "") -> str:
    """Return who runs this, for the history.

    :param opts: ``__opts__`` of a runner
    :param user: ``__user__`` of a runner: over salt-api the one who logged in. On the master's own
        command line it is the master's user, whoever that was before; ``sudo`` tells more
    """
    own = str(opts.get("user") or "root")
    if user and user not in ("UNKNOWN", own):
        return user
    return os.environ.get("SUDO_USER") or get_specific_user() or own


class MonotonicClock:
    """Time for durations; implements :class:`saltern.rollout.ports.Clock`."""

    def now(self) -> float:
        """Seconds of a clock that never goes back."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


class WallClock(MonotonicClock):
    """Time to compare with other hosts."""

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()


class MasterEvents:
    """Tells progress on Salt's event bus and, for people, on standard error.

    Implements :class:`saltern.rollout.ports.Events`. Standard output stays with the result,
    which is what machines read.

    :param opts: the master's options
    :param quiet: no lines, only events
    """

    def __init__(
        self, opts: Mapping[str, Any], *, quiet: bool = False, stream: TextIO | None = None
    ) -> None:
        self.opts = dict(opts)
        self.stream = None if quiet else (stream or sys.stderr)
        self.begin = time.monotonic()

    def emit(self, tag: str, data: Mapping[str, Any], line: str = "") -> None:
        """Fire ``saltern/<tag>`` and print ``line`` with the minutes since the start."""
        with salt.utils.event.get_event(
            "master", sock_dir=self.opts["sock_dir"], opts=self.opts, listen=False
        ) as bus:
            bus.fire_event(dict(data), f"{TAG}/{tag}")
        if line and self.stream:
            minutes, seconds = divmod(int(time.monotonic() - self.begin), 60)
            print(f"{minutes:3d}:{seconds:02d} {line}", file=self.stream, flush=True)
