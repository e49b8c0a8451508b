"""What rollouts took out of service: list it, and give it back by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from saltern.adapters.processes import alive, named
from saltern.adapters.rollouts import Rollouts
from saltern.errors import LockedError, RolloutError
from saltern.rollout.ports import Bus, Clock, Lease
from saltern.rollout.report import moment, table

#: Seconds of silence after which a node is asked whether it still works on giving back.
ASK_AFTER = 30.0


@dataclass(frozen=True)
class Leasing:
    """The leases of one master.

    :param rollouts: their journal
    :param bus: where they are given back
    :param clock: seconds since the epoch
    """

    rollouts: Rollouts
    bus: Bus
    clock: Clock

    def listed(
        self, cluster: str | None = None, rollout: str | None = None, *, gone: bool = False
    ) -> list[dict[str, Any]]:
        """List leases as plain data, the oldest first.

        :param cluster: only of rollouts of this one
        :param rollout: only those that it took
        :param gone: also those that were given back
        """
        now = self.clock.now()
        clusters: dict[str, str] = {}
        found = []
        for lease in self.rollouts.leases(not gone, rollout):
            owner = lease.owner
            clusters.setdefault(owner, self.rollouts.get(owner).cluster)
            if cluster in (None, clusters[owner]):
                found.append(_plain(lease, clusters[owner], now))
        return found

    def release(
        self, lease: str | None = None, rollout: str | None = None, *, force: bool = False
    ) -> dict[str, Any]:
        """Give leases back, as the rollout that took them would.

        :param lease: id of one
        :param rollout: all that this one took; without either, all that expired
        :param force: also while a process carries the rollout out
        :returns: a runner's answer; exit code 1 when one could not be given back
        :raises RolloutError: there is no such lease
        :raises LockedError: the rollout is being carried out, and gives it back itself
        :raises BusError: the master cannot publish
        """
        wanted = self._wanted(lease, rollout)
        if not force:
            for owner in dict.fromkeys(item.owner for item in wanted):
                process = self.rollouts.get(owner).owner
                if process and alive(process) is not False:
                    raise LockedError(
                        f"{named(process)} carries rollout {owner} out and gives it back itself",
                        cure=f"Abort it (`salt-run rollout.abort {owner}`), or give force=True",
                    )
        given: list[str] = []
        failed: list[str] = []
        for item in reversed(wanted):  # what was taken last goes first
            sentences = self._undo(item)
            if sentences:
                failed.append(f"{item.what} is not undone: {' '.join(sentences)}")
            else:
                self.rollouts.returned(item.id, self.clock.now())
                given.append(item.what)
        told = f"{len(given)} of {len(wanted)} leases are given back."
        return {
            "result": not failed,
            "comment": " ".join([told, *failed]),
            "released": given,
            "failures": failed,
            "retcode": 1 if failed else 0,
        }

    def _wanted(self, lease: str | None, rollout: str | None) -> list[Lease]:
        held = list(self.rollouts.leases(True, rollout))
        if lease:
            held = [item for item in held if item.id == lease]
            if not held:
                raise RolloutError(
                    f"no lease {lease} is in force",
                    cure="`salt-run lease.list` shows those that are",
                )
        elif not rollout:
            held = [item for item in held if item.expires <= self.clock.now()]
        return held

    def _undo(self, lease: Lease) -> list[str]:
        """Call what gives it back; return why not."""
        for call in lease.undo:
            answers = self.bus.call(call.nodes, call.fun, call.arg, call.kwarg, ASK_AFTER)
            failed = [answer.sentence for answer in answers.values() if not _good(answer)]
            if failed:
                return failed
        return []


def _good(answer: Any) -> bool:
    data = answer.data
    return bool(answer.ok) and not (isinstance(data, Mapping) and data.get("result") is False)


def _plain(lease: Lease, cluster: str, now: float) -> dict[str, Any]:
    return {
        "id": lease.id,
        "rollout": lease.owner,
        "cluster": cluster,
        "node": lease.node,
        "what": lease.what,
        "taken": moment(lease.taken),
        "expires": moment(lease.expires),
        "expired": lease.released is None and lease.expires <= now,
        "released": moment(lease.released),
    }


def text(leases: list[dict[str, Any]]) -> str:
    """Show leases as a table.

    :param leases: see :meth:`Leasing.listed`
    """
    if not leases:
        return "Nothing is out of service."
    rows = [("ROLLOUT", "NODE", "TAKEN", "STATE", "WHAT", "ID")]
    for item in leases:
        state = item["released"] or ("expired" if item["expired"] else "held")
        rows.append((item["rollout"], item["node"], item["taken"], state, item["what"], item["id"]))
    return table(rows)
