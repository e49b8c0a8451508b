"""Render formulas with Salt's own loader and compiler, for any platform, without a minion.

Run as a program (``python -m saltern.adapters.render``) it reads a request from standard input and
writes what it rendered to standard output, both as msgpack: Salt keeps file clients and loaders
for the life of a process, so each tree of formulas is rendered by a process of its own.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import copy
import hashlib
import itertools
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgpack

from saltern.errors import ModelError
from saltern.model.impact import Job, States

Low = dict[str, Any]
Progress = Callable[[], None]

#: platform (``host:image``) -> the grains in which it differs from another one
PLATFORMS: dict[str, dict[str, Any]] = {
    "bookworm": {"os": "Debian", "osrelease": "12", "osmajorrelease": 12, "osfinger": "Debian-12"},
    "trixie": {"os": "Debian", "osrelease": "13", "osmajorrelease": 13, "osfinger": "Debian-13"},
    "jammy": {
        "os": "Ubuntu", "osrelease": "22.04", "osmajorrelease": 22, "osfinger": "Ubuntu-22.04",
    },
    "noble": {
        "os": "Ubuntu", "osrelease": "24.04", "osmajorrelease": 24, "osfinger": "Ubuntu-24.04",
    },
}  # fmt: skip
#: of a host whose image is none of these
PLATFORM = "bookworm"

#: requisites that make a state act when another one changed something
TRIGGERS = ("watch", "watch_any", "listen", "onchanges", "onchanges_any")
#: nodes for which a process more is worth its start
_BATCH = 4
#: arguments that say when and where a state runs, not what it does
_ORDER = frozenset(
    [
        *("state", "fun", "name", "order", "require", "require_any", "prereq", "onfail"),
        *("onfail_any", "onfail_all", "retry", "failhard", "reload_modules", "fire_event"),
        *("parallel", *TRIGGERS),
    ]
)


class RenderError(ModelError):
    """Salt could not compile the states of a role; the text has its messages."""


class Renderer:
    """Salt's loader and state compiler for one node on one platform.

    :param pillar: the node's pillar, as a minion would get it
    :param platform: key of :data:`PLATFORMS`
    :param cache: directory for what Salt caches
    :param formulas: directory that is ``salt://``
    """

    def __init__(
        self, pillar: Mapping[str, Any], platform: str, cache: Path, formulas: Path
    ) -> None:
        import salt.config
        import salt.state

        self.pillar = copy.deepcopy(dict(pillar))
        self.formulas = formulas
        host = self.pillar["host"]
        opts = salt.config.minion_config(None)
        opts.update(
            id=host["fqdn"],
            root_dir=str(cache),
            cachedir=str(cache / "cache"),
            pki_dir=str(cache / "pki"),
            extension_modules=str(cache / "extmods"),
            file_client="local",
            file_roots={"base": [str(formulas)]},
            # a checkout; an installed distribution is found by its entry point
            module_dirs=[str(formulas.parent)],
            pillar=self.pillar,
            state_verbose=False,
        )
        machine = _machine_grains(opts)
        opts["grains"] = {
            **machine,
            **PLATFORMS[platform],
            "oscodename": platform,
            "lsb_distrib_codename": platform,
            "os_family": "Debian",
            "id": host["fqdn"],
            "host": host["name"],
            "fqdn": host["fqdn"],
            "localhost": host["name"],
            "nodename": host["name"],
            "init": "systemd",
        }
        self.highstate = salt.state.HighState(opts, initial_pillar=self.pillar)
        self.functions = self.highstate.state.functions
        self._done: dict[tuple[str, ...], list[Low]] = {}
        self._texts: dict[tuple[str, str], str] = {}

    def low(self, *sls: str) -> list[Low]:
        """Return the ordered low chunks of the given SLS names.

        :raises RenderError: Salt refuses them (template error, duplicate id, unknown state …)
        """
        if sls in self._done:
            return self._done[sls]
        # a HighState collects what it renders: begin anew for each question
        self.highstate.building_highstate = type(self.highstate.building_highstate)()
        high, errors = self.highstate.render_highstate({"base": list(sls)})
        state = self.highstate.state
        if not errors:
            high, more = state.reconcile_extend(high)
            errors += more
            errors += state.verify_high(high)
        if not errors:
            high, more = state.requisite_in(high)
            errors += more
        if not errors:
            high = state.apply_exclude(high)
            chunks, more = state.compile_high_data(high)
            errors += more or []
        if errors:
            raise RenderError("\n".join(map(str, errors)))
        self._done[sls] = list(chunks)
        return self._done[sls]

    def template(self, chunk: Low, dest: Path) -> str:
        """Render the template of a ``file.managed`` chunk and return the text.

        :raises RenderError: the template cannot be rendered
        """
        key = (chunk["__id__"], chunk["name"])
        if key in self._texts:
            return self._texts[key]
        context = {**chunk.get("defaults", {}), **chunk.get("context", {})}
        path = self.functions["cp.get_template"](
            chunk["source"], str(dest), template=chunk["template"], makedirs=True, context=context
        )
        if not path:
            raise RenderError(f"{chunk['source']} could not be rendered")
        self._texts[key] = Path(path).read_text()
        return self._texts[key]

    def reacts(self, state: str, fun: str) -> bool:
        """Return whether a state does more when what it watches has changed.

        Asked of the function's own module: a name that the loader does not find would make it
        load every state module there is.
        """
        try:
            function = self.highstate.state.states[f"{state}.{fun}"]
        except KeyError:
            return False
        module = sys.modules.get(str(getattr(function, "__module__", "")))
        return module is not None and hasattr(module, "mod_watch")

    def close(self) -> None:
        """Give back the file client."""
        self.highstate.destroy()


@dataclass(frozen=True)
class Request:
    """A node to render.

    :param pillar: with host and topology; ciphertext is replaced by tokens of one line
    :param roles: SLS names, in the order in which a highstate has them
    """

    node: str
    pillar: Mapping[str, Any]
    roles: tuple[str, ...]


@dataclass(frozen=True)
class Rendered:
    """The states of a node as plain data (see :class:`saltern.model.impact.State`).

    ``errors``: role to what Salt said of it; its states are missing. ``unknown``: roles without a
    formula.
    """

    node: str
    states: list[dict[str, Any]] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()


def available() -> str:
    """Return why formulas cannot be rendered here; empty when they can."""
    return "" if find_spec("salt") else "Salt is not installed here"


def render(
    requests: Sequence[Request],
    formulas: Path,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> list[Rendered]:
    """Render the states of nodes, in processes of their own.

    :param requests: the nodes
    :param formulas: directory of formulas
    :param workers: processes at a time (default: one per processor)
    :param progress: called for each node that is done, from any thread
    :returns: one per request, in their order
    :raises ModelError: a process failed as a whole
    """
    # starting Salt takes as long as rendering some nodes
    most = -(-len(requests) // _BATCH)
    count = max(1, min(workers or os.cpu_count() or 1, most))
    found: list[Rendered | None] = [None] * len(requests)
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        batches = [list(requests[n::count]) for n in range(count)]
        jobs = pool.map(lambda batch: _process(batch, formulas, progress), batches)
        for n, done in enumerate(jobs):
            found[n::count] = done
    return [one for one in found if one is not None]


def both_sides(
    before: Path,
    after: Path,
    *,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Callable[[list[Job]], dict[tuple[str, str], States]]:
    """Return what renders the jobs of :func:`saltern.model.impact.impact`.

    :param before: formulas of the earlier revision
    :param after: those of the later one
    :param workers: processes at a time (default: one per processor)
    :param progress: told how many of how many renderings are done
    """
    formulas = {"before": before, "after": after}

    def render_all(jobs: list[Job]) -> dict[tuple[str, str], States]:
        found: dict[tuple[str, str], States] = {}
        done_now = itertools.count(1)

        def one_more() -> None:
            if progress is not None:
                progress(next(done_now), len(jobs))

        for folder in dict.fromkeys(formulas.values()):
            mine = [job for job in jobs if formulas[job[0]] == folder]
            requests = [Request(node, pillar, roles) for _, node, pillar, roles in mine]
            for job, done in zip(
                mine, render(requests, folder, workers=workers, progress=one_more), strict=True
            ):
                found[job[0], job[1]] = States.build(
                    done.states, errors=done.errors, unknown=done.unknown
                )
        return found

    return render_all


def render_here(requests: Iterable[Request], formulas: Path, cache: Path) -> list[Rendered]:
    """Render in this process; see :func:`render`.

    :param cache: directory for what Salt caches
    """
    return [_render(request, formulas, cache) for request in requests]


def _process(batch: Sequence[Request], formulas: Path, progress: Progress | None) -> list[Rendered]:
    """Render in another process, which answers node by node."""
    if not batch:
        return []
    payload = msgpack.packb(
        {"formulas": str(formulas.absolute()), "requests": [vars(request) for request in batch]}
    )
    found = []
    with tempfile.TemporaryFile() as complaints:
        with subprocess.Popen(
            [sys.executable, "-m", "saltern.adapters.render"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(_added_paths())},
        ) as child:
            assert child.stdin is not None and child.stdout is not None  # noqa: S101, PT018
            with contextlib.suppress(BrokenPipeError), child.stdin as target:
                target.write(payload)
            for entry in msgpack.Unpacker(child.stdout, max_buffer_size=0):
                unknown = tuple(entry["unknown"])
                found.append(Rendered(entry["node"], entry["states"], entry["errors"], unknown))
                if progress is not None:
                    progress()
        if child.returncode != 0 or len(found) != len(batch):
            complaints.seek(0)
            text = complaints.read().decode(errors="replace").strip()
            last = (text.splitlines() or ["no message"])[-1]
            raise ModelError(f"the formulas could not be rendered: {last}", where=str(formulas))
    return found


def _added_paths() -> list[str]:
    """What this process looks for modules in beside what its Python has by itself.

    A path of Python's own would come before its standard library there, which a distribution such
    as enum34 then takes the place of.
    """
    own = {os.path.realpath(path) for path in sysconfig.get_paths().values()}
    return [path for path in sys.path if path and os.path.realpath(path) not in own]


def _render(request: Request, formulas: Path, cache: Path) -> Rendered:
    roles = [role for role in request.roles if _has_formula(formulas, role)]
    unknown = tuple(role for role in request.roles if role not in roles)
    host = request.pillar.get("host")
    if not isinstance(host, Mapping):
        return Rendered(request.node, [], {"": "the node has no host data"}, unknown)
    pillar = {
        **request.pillar,
        "host": {"name": request.node.partition(".")[0], "fqdn": request.node, **host},
    }
    image = str(host.get("image", PLATFORM))
    renderer = Renderer(pillar, image if image in PLATFORMS else PLATFORM, cache, formulas)
    try:
        try:
            return Rendered(request.node, _states(renderer, roles, cache), {}, unknown)
        except RenderError as err:
            if len(roles) == 1:
                return Rendered(request.node, [], {roles[0]: _told(err)}, unknown)
        # one broken role must not hide what the others do
        states: list[dict[str, Any]] = []
        errors = {}
        for role in roles:
            try:
                states += _states(renderer, [role], cache)
            except RenderError as err:
                errors[role] = _told(err)
        if not errors:
            errors[""] = "the roles of the node do not render together"
        return Rendered(request.node, states, errors, unknown)
    finally:
        renderer.close()


def _told(err: RenderError) -> str:
    """The first line: the next ones show the rendered text, with the data in it."""
    lines = err.sentence.strip().splitlines() or ["no message"]
    return lines[0].split(";")[0]


def _has_formula(formulas: Path, role: str) -> bool:
    path = formulas / role.replace(".", "/")
    return path.with_suffix(".sls").is_file() or (path / "init.sls").is_file()


def _states(renderer: Renderer, roles: Sequence[str], cache: Path) -> list[dict[str, Any]]:
    if not roles:
        return []
    try:
        return [_state(renderer, chunk, cache) for chunk in renderer.low(*roles)]
    except RenderError:
        raise
    except Exception as err:  # Salt lets out whatever a renderer or a module raised
        raise RenderError(f"{type(err).__name__}: {err}") from err


def _state(renderer: Renderer, chunk: Low, cache: Path) -> dict[str, Any]:
    arguments = {
        name: _hash(value)
        for name, value in chunk.items()
        if not name.startswith("__") and name not in _ORDER
    }
    for name, value in chunk.items():
        # the state looks the value up when it runs
        if (name == "pillar" or name.endswith("_pillar")) and isinstance(value, str):
            arguments[name] = _hash([value, _at(renderer.pillar, value)])
    content, problem = "", ""
    if chunk["state"] == "file" and chunk.get("source"):
        try:
            content = _content(renderer, chunk, cache)
        except RenderError as err:
            problem = _told(err)
    return {
        "sls": str(chunk["__sls__"]),
        "id": str(chunk["__id__"]),
        "state": str(chunk["state"]),
        "fun": str(chunk["fun"]),
        "name": str(chunk["name"]),
        "arguments": arguments,
        "content": content,
        "problem": problem,
        "reacts": renderer.reacts(str(chunk["state"]), str(chunk["fun"])),
        "reload": bool(chunk.get("reload")),
        "triggers": {
            kind: [
                [str(part) for part in next(iter(entry.items()))]
                if isinstance(entry, Mapping)
                else ["", str(entry)]
                for entry in chunk.get(kind) or []
            ]
            for kind in TRIGGERS
            if chunk.get(kind)
        },
    }


def _content(renderer: Renderer, chunk: Low, cache: Path) -> str:
    """Hash of what a file state writes from its source; empty when that is not on the master."""
    sources = chunk["source"] if isinstance(chunk["source"], list) else [chunk["source"]]
    for source in sources:
        if not isinstance(source, str) or not source.startswith("salt://"):
            return ""
        path = renderer.formulas / source.removeprefix("salt://").partition("?")[0]
        if path.is_dir():
            files = sorted(item for item in path.rglob("*") if item.is_file())
            return _hash([[str(item.relative_to(path)), _text(item)] for item in files])
        if not path.is_file():
            continue
        if not chunk.get("template"):
            return _hash(_text(path))
        try:
            return _hash(renderer.template({**chunk, "source": source}, cache / "rendered"))
        except RenderError:
            raise
        except Exception as err:  # a template may call anything
            raise RenderError(f"{source}: {type(err).__name__}: {err}") from err
    raise RenderError(f"{sources[0]} is not in the formulas")


def _text(path: Path) -> str:
    return path.read_bytes().decode("latin-1")


def _at(pillar: Any, path: str) -> Any:
    for part in path.split(":"):
        pillar = pillar.get(part) if isinstance(pillar, Mapping) else None
    return pillar


def _hash(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


_GRAINS: dict[str, Any] = {}


def _machine_grains(opts: dict[str, Any]) -> dict[str, Any]:
    """The machine's own grains, collected once per process."""
    if not _GRAINS:
        import salt.loader

        _GRAINS.update(salt.loader.grains(opts))
    return _GRAINS


def main() -> None:
    """Render the request on standard input."""
    asked = msgpack.unpackb(sys.stdin.buffer.read())
    answer = os.fdopen(os.dup(1), "wb")
    # what Salt and its modules print must not mix with the answer
    os.dup2(2, 1)
    requests = [
        Request(entry["node"], entry["pillar"], tuple(entry["roles"]))
        for entry in asked["requests"]
    ]
    with tempfile.TemporaryDirectory(prefix="saltern-render-") as cache, answer:
        for request in requests:
            for done in render_here([request], Path(asked["formulas"]), Path(cache)):
                answer.write(msgpack.packb(vars(done)))
            answer.flush()


if __name__ == "__main__":
    main()
