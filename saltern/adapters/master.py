"""The master's side of a run: its settings, its model, its clock and where progress is told."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import salt.utils.event

from saltern.errors import PreflightError

#: Where the model lives on the master unless ``saltern:model`` says otherwise.
MODEL = "/srv/saltern/model"
#: Where release artifacts lie on the master unless ``saltern:artifacts`` says otherwise.
ARTIFACTS = "/srv/saltern/artifacts"
#: All events of this suite are below this tag.
TAG = "saltern"


@dataclass(frozen=True)
class Site:
    """The ``saltern`` block of the master's configuration.

    .. code-block:: yaml

        saltern:
          cluster: demo-core             # the one meant when a command names none
          model: /srv/saltern/model
          artifacts: /srv/saltern/artifacts
          options: {}                    # settings of the merge engine
    """

    cluster: str = ""
    model: Path = Path(MODEL)
    artifacts: Path = Path(ARTIFACTS)
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, opts: Mapping[str, Any], cluster: str | None = None) -> Site:
        """Read it from the master's options.

        :param opts: ``__opts__`` of a runner
        :param cluster: the cluster that a command names, if it does
        :raises PreflightError: no cluster is named anywhere, or the block is not a mapping
        """
        block = opts.get("saltern") or {}
        if not isinstance(block, Mapping):
            raise PreflightError("saltern must be a mapping", where="master configuration")
        name = str(cluster or block.get("cluster") or "")
        if not name:
            raise PreflightError(
                "no cluster is named", cure="Give cluster=NAME or set saltern:cluster on the master"
            )
        return cls(
            name,
            Path(block.get("model") or MODEL),
            Path(block.get("artifacts") or ARTIFACTS),
            dict(block.get("options") or {}),
        )


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
