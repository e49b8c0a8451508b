"""Take, verify, restore and expire bundles over the bus; what to do is decided elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from saltern.backup import choose, retention
from saltern.backup.bundles import FACTS, FULL, LOGICAL, Bundle, Store, shown
from saltern.backup.sources import EACH, GALERA, Kind, Source, Sources
from saltern.errors import BackupError, BackupRefusedError, SalternError
from saltern.rollout import galera
from saltern.rollout.members import gather
from saltern.rollout.ports import Bus, Call, Return

#: Seconds a host may be silent before the bus asks whether it still works; at most for one work.
PATIENCE, LIMIT = 60.0, 6 * 3600.0
#: What is taken when nobody says.
KINDS = (FULL, LOGICAL)
#: Incremental bundles that one full one may have, when the model does not say.
LONGEST = 24


@dataclass
class Done:
    """What came of it, as a runner tells it."""

    comment: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    changes: dict[str, Any] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)

    def to_ret(self, *, test: bool = False) -> dict[str, Any]:
        """Shape it: ``{result, comment, changes, …}``; ``result`` None: it would be done."""
        result = False if self.failed else None if test and self.changes else True
        text = " ".join([*self.failed, *self.comment])
        return {"result": result, "comment": text, "changes": self.changes, **self.more}


@dataclass
class Backups:
    """The backups of one cluster.

    :param bus: where its hosts answer
    :param cluster: its name
    :param sources: what its model says
    :param tell: hears a sentence before each step
    """

    bus: Bus
    cluster: str
    sources: Sources
    tell: Callable[[str], None] = lambda _: None

    # -- looking -------------------------------------------------------------------------

    def store(self) -> Store:
        """Ask the backup server what it has.

        :raises BackupError: it does not answer
        """
        node = self.sources.server()
        answer = self._ask(node, FACTS)
        if not answer.ok:
            raise BackupError(_why(answer), where=node, cure="Apply backup.server to it")
        return Store.from_facts(node, answer.data, self.cluster)

    def find(
        self, source: Source, bundle: str, lineage: str, point: datetime | None, **more: Any
    ) -> tuple[Store, Bundle]:
        """Return the bundle that is named, or the newest one of a point in time.

        :raises BackupRefusedError: there is none, or it is of another role or kind
        """
        store = self.store()
        if not bundle:
            return store, choose.at(store.bundles, source.role, lineage, point, **more)
        if bundle in store.damaged:
            raise BackupRefusedError(store.damaged[bundle], where=bundle, cure="Take another one")
        found = choose.named(store.bundles, bundle)
        if (found.role, found.lineage) != (source.role, lineage):
            raise BackupRefusedError(
                f"it is a {found.kind} bundle of {found.role}, and not a {lineage} one of"
                f" {source.role}",
                where=bundle,
            )
        return store, found

    def inspect(self, bundle: str) -> Done:
        """Have a host of its role read a bundle's manifest, and check its seal.

        :param bundle: its path
        :raises BackupRefusedError: there is no such bundle
        :raises BackupError: it is damaged, of another cluster, or of another key
        """
        one = choose.named(self.store().bundles, bundle)
        (source,) = self.sources.chosen([one.role])
        about = self._must(self._best(source, one), "backup_bundle.inspect", [bundle])
        return Done([f"{bundle} is of {about['taken']}, and its seal is whole."],
                    more={"manifest": about})  # fmt: skip

    # -- taking --------------------------------------------------------------------------

    def take(
        self,
        roles: Sequence[str] = (),
        kinds: Sequence[str] = KINDS,
        *,
        databases: Sequence[str] = (),
        interrupt: bool = False,
        longest: int = LONGEST,
        label: str = "",
        test: bool = False,
    ) -> Done:
        """Make bundles of what the model calls stateful.

        :param roles: only these
        :param kinds: only these; a role that has none of them is left out
        :param databases: only these, of logical ones; none: all
        :param interrupt: hold the writes of clients where only the member that they use is left
        :param longest: incremental bundles that one full one may have
        :param label: what logical ones are taken for, so that they are found again
        :param test: only say what would be done
        :raises BackupRefusedError: there is no server, no room, or a host that cannot send
        """
        chosen = self.sources.chosen(roles)
        if label and tuple(kinds) != (LOGICAL,):
            raise BackupRefusedError("only logical bundles have a label", cure="Say kinds=logical")
        work = [(source, kind) for source in chosen for kind in kinds if kind in source.kinds]
        if not work:
            raise BackupRefusedError(
                f"nothing has bundles of the kind {' or '.join(kinds)}", cure="Name another kind"
            )
        store = self.store()
        choose.room(store.bundles, work, store.free)
        done = Done()
        for source, name in work:
            try:
                if test:
                    done.changes[f"{source.role} {name}"] = f"would be taken of {source.order}"
                    continue
                more: dict[str, Any] = {"only": list(databases)} if databases else {}
                more |= {"label": label} if label else {}
                self._take(done, store, source, name, more, interrupt, longest)
            except SalternError as err:
                done.failed.append(str(err))
        if done.failed:
            done.failed += self._full()
        if self.sources.silent and not roles:
            done.comment.append(
                f"The model does not say how {', '.join(self.sources.silent)} is backed up."
            )
        return done

    def _take(
        self,
        done: Done,
        store: Store,
        source: Source,
        name: str,
        more: Mapping[str, Any],
        interrupt: bool,
        longest: int,
    ) -> None:
        candidates = choose.members(source, self._facts(source))
        based = choose.bases(store.bundles, source.role, longest) if source.kinds[name].base else {}
        if source.order == EACH:
            for node in candidates.nodes:
                self._try(done, source, source.kinds[name], (node,), {}, {})
            return
        nodes = choose.takers(candidates, name, based, interrupt=interrupt)
        told = more if name == LOGICAL else {}
        self._try(done, source, source.kinds[name], nodes, based, told)
        taken = done.more.get("bundles", [])
        if taken and candidates.writer in taken[-1]["path"].split("/"):
            done.comment.append(f"{candidates.writer} is the one that clients write to.")

    def _try(
        self,
        done: Done,
        source: Source,
        kind: Kind,
        nodes: Sequence[str],
        based: Mapping[str, Bundle],
        more: Mapping[str, Any],
    ) -> None:
        """Take a bundle of the first member that can give one."""
        said = []
        for node in nodes:
            asked = kind
            kwargs = {**kind.kwargs, **more}
            if kind.base and node in based:
                kwargs["base"] = based[node].path
            elif kind.base:
                asked = source.kinds[kind.base]
                said.append(f"{node}: nothing to build on, so a {asked.name} one is taken.")
            self.tell(f"{source.role}: {asked.name} of {node}")
            answer = self._work(node, asked.call, [source.role], kwargs)
            if not answer.ok and "base" in kwargs:
                # its data are others now: the next chain begins here
                said.append(_why(answer))
                asked = source.kinds[kind.base]
                answer = self._work(node, asked.call, [source.role], {**asked.kwargs, **more})
            if answer.ok and isinstance(answer.data, Mapping) and "path" in answer.data:
                done.comment += [*said, str(answer.data["sentence"])]
                done.changes.setdefault(source.role, {})[answer.data["path"]] = asked.name
                done.more.setdefault("bundles", []).append(dict(answer.data))
                return
            said.append(f"{node}: {_why(answer)}")
        done.failed.append(f"{source.role} has no new {kind.name} bundle. {' '.join(said)}")

    def _full(self) -> list[str]:
        """Say so when the server's disk is what failed."""
        try:
            store = self.store()
        except SalternError as err:
            return [str(err)]
        if store.free < choose.RESERVE:
            sentence = (
                f"The disk of {store.node} is full: {store.free / 1e9:.1f} GB are free. Free some,"
                " or keep less (backup:scheduler:retention) and run `salt-run backup.expire`."
            )
            return [sentence]
        return []

    # -- verifying -----------------------------------------------------------------------

    def verify(self, bundle: str = "", roles: Sequence[str] = ()) -> Done:
        """Restore bundles aside, on a host of their role, and look at what came out.

        :param bundle: its path; empty: the newest of each role and kind
        :param roles: only these, when no bundle is named
        :raises BackupRefusedError: there is no such bundle
        """
        store = self.store()
        done = Done()
        for source, one in self._to_verify(store, bundle, roles):
            try:
                chain = choose.chain(store.bundles, one)
                kind = source.kinds.get(one.kind)
                if kind is None or not kind.verify:
                    raise BackupRefusedError(
                        f"the model does not say how {one.kind} bundles of {one.role} are verified",
                        where=one.path,
                    )
                node = self._best(source, one)
                paths = [link.path for link in chain]
                rotten = self._work(store.node, "backup_store.check", [paths])
                if not rotten.ok or rotten.data:
                    path, why = next(iter((rotten.data or {store.node: _why(rotten)}).items()))
                    raise BackupError(f"damaged: {why}", where=path, cure="Take another bundle")
                self.tell(f"{one.path} is restored aside on {node}")
                answer = self._work(node, kind.verify, [paths])
                if not answer.ok:
                    raise BackupError(_why(answer), where=node)
            except SalternError as err:
                done.failed.append(str(err))
            else:
                done.comment.append(str(answer.data["sentence"]))
                done.more.setdefault("verified", []).append(one.path)
        for path, why in store.damaged.items():
            done.failed.append(f"{path}: {why}.")
        return done

    def _to_verify(
        self, store: Store, bundle: str, roles: Sequence[str]
    ) -> list[tuple[Source, Bundle]]:
        if bundle:
            one = choose.named(store.bundles, bundle)
            return [(self.sources.chosen([one.role])[0], one)]
        found = []
        for source in self.sources.chosen(roles):
            hosts = source.nodes if source.order == EACH else ("",)
            for lineage in sorted({FULL, LOGICAL} & set(source.kinds)):
                for host in hosts:
                    one = choose.at(store.bundles, source.role, lineage, host=host)
                    found.append((source, one))
        return found

    # -- restoring -----------------------------------------------------------------------

    def load(
        self,
        role: str,
        databases: Mapping[str, str],
        bundle: str = "",
        point: datetime | None = None,
        *,
        label: str = "",
        test: bool = False,
    ) -> Done:
        """Put databases back from dumps, under their own names or under others.

        :param role: ``galera.server``
        :param databases: name in the bundle to the name it gets; the same one replaces
        :param bundle: its path; empty: the newest of the point in time
        :param point: not later than this; None: the newest
        :param label: what it was taken for
        :param test: only say what would be done
        :raises BackupRefusedError: there is no such bundle, or it lacks a database
        """
        (source,) = self.sources.chosen([role])
        wanted = {"databases": tuple(databases), "label": label}
        _, one = self.find(source, bundle, LOGICAL, point, **wanted)
        lost = sorted(set(databases) - set(one.databases))
        if lost or not databases:
            raise BackupRefusedError(
                f"it has no {', '.join(lost) or 'database that was named'}; it has"
                f" {', '.join(one.databases)}",
                where=one.path,
            )
        same = sorted(name for name, new in databases.items() if name == new)
        if same and len(same) != len(databases):
            raise BackupRefusedError(
                "some databases would be replaced and others loaded beside them",
                where=one.path,
                cure="Do it in two commands",
            )
        node = self._best(source, one)
        done = Done(changes={old: f"as of {shown(one.finished)} in {new}"
                             for old, new in databases.items()})  # fmt: skip
        done.more["bundle"] = one.path
        if test:
            done.comment.append(f"{one.path} would be loaded on {node}.")
            return done
        function = "backup_dump.restore" if same else "backup_dump.load"
        names: Any = same or dict(databases)
        self.tell(f"{', '.join(sorted(databases))} of {one.path} on {node}")
        return self._told(done, self._work(node, function, [one.path, names]), node)

    def place(
        self,
        role: str,
        host: str = "",
        bundle: str = "",
        point: datetime | None = None,
        *,
        replace: bool = False,
        test: bool = False,
    ) -> Done:
        """Restore what is not in MariaDB: beside what is there, or in its place.

        :param role: whose data
        :param host: whose bundle, and where; empty where one has the same as another
        :param bundle: its path; empty: the newest of the point in time
        :param point: not later than this; None: the newest
        :param replace: in its place
        :param test: only say what would be done
        :raises BackupRefusedError: there is no such bundle, or no host is named
        """
        (source,) = self.sources.chosen([role])
        _, one = self.find(source, bundle, FULL, point, **({"host": host} if host else {}))
        kind = source.kinds[FULL]
        if not kind.restore:
            raise BackupRefusedError(f"the model does not say how {role} is restored")
        if source.order == EACH and not host and not bundle and len(source.nodes) > 1:
            raise BackupRefusedError(
                "each host has data of its own, and none is named", where=role, cure="Say host=NAME"
            )
        node = host or (one.host if one.host in source.nodes else source.nodes[0])
        done = Done(changes={role: f"of {one.path} on {node}"}, more={"bundle": one.path})
        if test:
            return done
        kwargs = {**kind.restore_kwargs, "role": role, "replace": replace}
        return self._told(done, self._work(node, kind.restore, [one.path], kwargs), node)

    def rebuild(
        self, role: str, bundle: str = "", point: datetime | None = None, *, test: bool = False
    ) -> Done:
        """Put a whole Galera cluster back from a full copy: all members stop, and begin again.

        What each member has now stays on its disk, put aside.

        :param role: ``galera.server``
        :param bundle: its path; empty: the newest of the point in time
        :param point: not later than this; None: the newest
        :param test: only say what would be done
        :raises BackupRefusedError: there is no such bundle, or a member is silent
        :raises BackupError: a step failed; the sentence says how far it came
        """
        (source,) = self.sources.chosen([role])
        store, one = self.find(source, bundle, FULL, point)
        paths = [link.path for link in choose.chain(store.bundles, one)]
        present = self.bus.call(source.nodes, "test.ping", timeout=PATIENCE)
        silent = sorted(node for node, answer in present.items() if not answer.ok)
        if silent:
            raise BackupRefusedError(
                f"{', '.join(silent)} does not answer, and may go on with what is replaced",
                where=role,
                cure="Bring it back, or take the role from it in the model",
            )
        first = sorted(source.nodes)[0]
        rest = [node for node in sorted(source.nodes) if node != first]
        done = Done(changes={first: f"begins with {one.path}", **dict.fromkeys(rest, "joins it")})
        done.more["bundle"] = one.path
        if test:
            return done
        self.tell(f"{one.path} is made ready on {first}, while the cluster serves")
        staged = self._must(first, "backup_copy.stage", [paths])
        self.tell("all members stop")
        for node, answer in self.bus.call(source.nodes, "galera_cluster.stop", timeout=900).items():
            if not answer.ok:
                raise BackupError(_why(answer), where=node, cure="`salt-run galera.recover`")
        position = staged["position"]
        placed = self._must(first, "backup_copy.place", [], {"position": position})
        done.comment.append(placed["sentence"])
        for node in rest:
            aside = self._must(node, "backup_copy.put_aside")
            done.comment.append(f"{node}: {aside} has the old data.")
        uuid, _, number = str(position).rpartition(":")
        kwargs = {"uuid": uuid, "seqno": int(number)} if position else {}
        self._must(first, "galera_cluster.bootstrap", [], kwargs)
        for node in rest:
            self.tell(f"{node} joins and is given all data")
            self._must(node, "galera_cluster.join")
        done.comment.insert(0, f"The cluster has the data of {shown(one.finished)}.")
        return done

    # -- expiring ------------------------------------------------------------------------

    def expire(self, policy: retention.Policy, *, test: bool = False) -> Done:
        """Remove the bundles that nothing keeps.

        :param policy: what is kept
        :param test: only say which
        """
        store = self.store()
        by_host = frozenset(
            role for role, source in self.sources.found.items() if source.order == EACH
        )
        old = retention.expired(store, policy, by_host)
        done = Done(changes=dict.fromkeys(old, "would be removed" if test else "removed"))
        done.comment.append(f"{len(store.bundles)} bundles, {len(old)} of them may go.")
        if old and not test:
            answer = self._work(store.node, "backup_store.remove", [old])
            if not answer.ok:
                raise BackupError(_why(answer), where=store.node)
            done.comment.append(f"{answer.data['bytes'] / 1e9:.1f} GB are free again.")
        return done

    # -- asking --------------------------------------------------------------------------

    def _facts(self, source: Source) -> Mapping[str, galera.Member | None] | None:
        if source.order != GALERA:
            return None
        facts, _ = gather(self.bus, source.nodes, galera.FACTS, galera.Member.from_facts)
        return facts

    def _best(self, source: Source, one: Bundle) -> str:
        """Return where a bundle is worked with: its host, or the member that is missed least."""
        if source.order == EACH:
            return one.host
        return choose.members(source, self._facts(source)).nodes[0]

    def _told(self, done: Done, answer: Return, node: str) -> Done:
        if not answer.ok:
            raise BackupError(_why(answer), where=node)
        done.comment.append(str(answer.data["sentence"]))
        done.more["restored"] = answer.data
        return done

    def _must(
        self,
        node: str,
        function: str,
        arg: Sequence[Any] = (),
        kwarg: Mapping[str, Any] | None = None,
    ) -> Any:
        answer = self._work(node, function, arg, kwarg)
        if not answer.ok:
            raise BackupError(f"{function}: {_why(answer)}", where=node)
        return answer.data

    def _ask(self, node: str, function: str) -> Return:
        return self.bus.call([node], function, timeout=PATIENCE)[node]

    def _work(
        self,
        node: str,
        function: str,
        arg: Sequence[Any] = (),
        kwarg: Mapping[str, Any] | None = None,
    ) -> Return:
        call = Call((node,), function, tuple(arg), dict(kwarg or {}), PATIENCE, LIMIT)
        return self.bus.call_all([call])[0][node]


def _why(answer: Return) -> str:
    return (answer.sentence or "it failed").removeprefix(f"{answer.node}: ").strip()
