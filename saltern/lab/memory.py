"""How much memory the hosts of a lab took at most, together."""

from __future__ import annotations

import threading
from types import TracebackType

from saltern.lab.nspawn import NspawnProvider

#: Seconds between two looks.
INTERVAL = 2.0


class MemorySampler:
    """Watches the sum of the hosts' memory while it is entered.

    ``peak`` is in bytes: anonymous and shared memory, page cache not counted.

    :param provider: the lab
    :param interval: seconds between two looks
    """

    def __init__(self, provider: NspawnProvider, interval: float = INTERVAL) -> None:
        self.provider = provider
        self.interval = interval
        self.peak = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def sample(self) -> int:
        """Look once; return the sum and remember it when it is the highest."""
        total = sum(self.provider.memory(name) for name in self.provider.specs())
        self.peak = max(self.peak, total)
        return total

    def _watch(self) -> None:
        while not self._stop.wait(self.interval):
            self.sample()

    def __enter__(self) -> MemorySampler:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
