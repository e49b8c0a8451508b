"""The release catalogue: which versions make up a release, and how they are locked and built.

The files are ``releases/<product>.yaml`` and, beside them, ``<product>/<release>/<service>.lock``.
What all releases of a product have in common is said once, for the product; a release names its
services and says where they differ.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from saltern.errors import ArtifactError
from saltern.model.schema import violations


@dataclass(frozen=True)
class Database:
    """How a service's schema is inspected and brought up to date.

    :param migrations: directory of alembic revisions, relative to site-packages
    :param section: section of the service's configuration that has ``connection``
    :param sync: commands (below ``bin/``), in order
    """

    migrations: str
    section: str
    sync: tuple[tuple[str, ...], ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as manifests and pillars have it."""
        return {**asdict(self), "sync": [list(command) for command in self.sync]}


@dataclass(frozen=True)
class Check:
    """The smallest configuration that a service's application starts with.

    :param file: where the service looks for it
    :param data: section -> option -> value; or the text itself, where it is not such a file
    :param environ: variables that tell it where its configuration is, where it needs any
    :param without_schema: the commands of the schema are not run: they know no SQLite
    """

    file: str = ""
    data: Mapping[str, Mapping[str, Any]] | str = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    without_schema: bool = False

    def text(self) -> str:
        """Return the configuration as the service reads it."""
        if isinstance(self.data, str):
            return self.data
        lines = []
        for section, options in self.data.items():
            lines += [f"[{section}]", *(f"{key} = {value}" for key, value in options.items())]
        return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Service:
    """One service of one release, with everything its lock and its build depend on.

    ``wsgi`` is empty for a program without an application, ``database`` None without a schema.
    ``links`` are made before the application is loaded, ``finish`` runs after that.
    ``constraints`` bound what the environment has, and bring nothing into it; ``tools`` are
    packages of the distribution that its source distributions are compiled with. ``upgrade`` has
    the commands (below ``bin/``) of each phase that takes the database of an older release along;
    no build depends on them.
    """

    product: str
    release: str
    name: str
    role: str
    dist: str
    version: str
    python: str
    cutoff: str
    cutoffs: Mapping[str, str]
    requirements: tuple[str, ...]
    sdists: tuple[str, ...]
    wsgi: str
    imports: tuple[str, ...]
    check: Check
    database: Database | None
    links: Mapping[str, str] = field(default_factory=dict)
    finish: tuple[tuple[str, ...], ...] = ()
    constraints: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    upgrade: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)

    @property
    def lock_path(self) -> Path:
        """The committed hash lock of the service."""
        return releases_dir() / self.product / self.release / f"{self.name}.lock"

    @property
    def formats(self) -> list[str]:
        """uv's arguments that say what may be built from source.

        A source distribution is built with tools of the index, so each one is named in the
        catalogue; its build tools are constrained by the lock.
        """
        return ["--only-binary", ":all:", *(f"--no-binary={name}" for name in self.sdists)]

    @property
    def prefix(self) -> str:
        """Where the environment lives on a host; its scripts carry this path."""
        return _prefix(self.product, self.release, self.name)

    def lock_sha256(self) -> str:
        """Return the sha256 of the committed lock.

        :raises ArtifactError: there is none yet
        """
        try:
            return hashlib.sha256(self.lock_path.read_bytes()).hexdigest()
        except FileNotFoundError:
            raise ArtifactError(
                "there is no lock for this service",
                where=f"{self.lock_path}",
                cure=f"Run saltern artifact lock {self.product} {self.release} {self.name}",
            ) from None


def _prefix(product: str, release: str, name: str) -> str:
    return f"/opt/{product}/{release}/{name}"


def releases_dir() -> Path:
    """Return the directory of the catalogue: in a checkout, or in the installed package."""
    checkout = Path(__file__).resolve().parents[2] / "releases"
    if checkout.is_dir():
        return checkout
    return Path(next(iter(import_module("saltern.tree.releases").__path__)))


@lru_cache
def _schema() -> dict[str, Any]:
    path = Path(__file__).with_name("data") / "catalogue.yaml"
    schema: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return schema


def _fit(data: Any, schema: Mapping[str, Any], path: Path, below: Iterable[str] = ()) -> None:
    """Raise an error that names the first key of ``data`` which does not fit ``schema``."""
    for found in violations(data, schema):
        where = ":".join([*below, *found.path])
        raise ArtifactError(
            f"{where}: {found.sentence}" if where else found.sentence,
            where=str(path),
            cure="Write it as the head comment of the catalogue says",
        )


@lru_cache
def _load(path: Path) -> dict[str, Any]:
    # products without `releases` have a lifecycle alone: nothing is built of them
    data: dict[str, Any] = {}
    if path.is_file():
        data = _plain(yaml.safe_load(path.read_text(encoding="utf-8")))
    if "releases" not in data:
        built = sorted(folder.name for folder in path.parent.iterdir() if folder.is_dir())
        raise ArtifactError(
            f"there is no catalogue for {path.stem!r}; known are {', '.join(built)}",
            where=str(path),
        )
    _fit(data, _schema(), path)
    return data


def _plain(value: Any) -> Any:
    """Return a value of YAML with its dates as ISO 8601 text."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.isoformat() if isinstance(value, datetime.date) else value


def merged(common: Any, own: Any) -> Any:
    """Return what a release says over what its product says.

    Mappings are merged key by key; of anything else, lists too, the release's word stands alone.

    :param common: of the product
    :param own: of the release
    """
    if isinstance(common, Mapping) and isinstance(own, Mapping):
        both = {key: merged(common[key], own[key]) for key in common.keys() & own.keys()}
        return {**common, **own, **both}
    return own


def _filled(value: Any, words: Mapping[str, str]) -> Any:
    """Return ``value`` with its ``$words``, in keys too, replaced."""
    if isinstance(value, dict):
        return {_filled(key, words): _filled(item, words) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, words) for item in value]
    if isinstance(value, str):
        for word, meaning in words.items():
            value = value.replace(f"${word}", meaning)
    return value


def releases(product: str) -> list[str]:
    """Return the releases of ``product``, in the catalogue's order.

    :raises ArtifactError: there is no such catalogue
    """
    return list(_load(releases_dir() / f"{product}.yaml")["releases"])


def services(product: str, release: str, names: Iterable[str] = ()) -> list[Service]:
    """Return services of a release.

    :param product: name of the catalogue (``openstack``)
    :param release: for example ``2025.1``
    :param names: the services wanted; all of the release when empty
    :raises ArtifactError: unknown product, release or service
    """
    path = releases_dir() / f"{product}.yaml"
    catalogue = _load(path)
    known = catalogue["releases"]
    if release not in known:
        raise ArtifactError(
            f"there is no release {release!r}; known are {', '.join(known)}", where=str(path)
        )
    entry = known[release]
    built = entry.get("services", {})
    wanted = list(dict.fromkeys(names)) or list(built)
    unknown = [name for name in wanted if name not in built]
    if unknown:
        raise ArtifactError(
            f"release {release} has no service {', '.join(unknown)};"
            f" known are {', '.join(built) or 'none'}",
            where=str(path),
        )
    common = catalogue.get("services", {})
    whole = {"$defs": _schema()["$defs"], "$ref": "#/$defs/whole"}
    found = []
    for name in wanted:
        data = merged(common.get(name, {}), built[name])
        _fit(data, whole, path, ("releases", release, "services", name))
        found.append(_service(product, release, name, entry, data))
    return found


def _service(
    product: str, release: str, name: str, entry: Mapping[str, Any], data: Mapping[str, Any]
) -> Service:
    """Return the service that ``data`` describes, in the release of ``entry``."""
    words = {
        "prefix": _prefix(product, release, name),
        "site": f"lib/python{entry['python']}/site-packages",
    }
    data = _filled(dict(data), words)
    database = data.get("database")
    cutoffs = {**entry.get("cutoffs", {}), **data.get("cutoffs", {})}
    return Service(
        product=product,
        release=release,
        name=name,
        role=data["role"],
        dist=data["dist"],
        version=data["version"],
        python=entry["python"],
        cutoff=entry["cutoff"],
        cutoffs=dict(sorted(cutoffs.items())),
        requirements=(*entry.get("requirements", ()), *data.get("requirements", ())),
        constraints=tuple(entry.get("constraints", ())),
        sdists=(*entry.get("sdists", ()), *data.get("sdists", ())),
        tools=tuple(entry.get("tools", ())),
        wsgi=data.get("wsgi", ""),
        imports=tuple(data.get("imports", ())),
        check=Check(**data.get("check", {})),
        database=database
        and Database(
            migrations=database["migrations"],
            section=database["section"],
            sync=tuple(tuple(command) for command in database["sync"]),
        ),
        links=data.get("links", {}),
        upgrade={
            phase: tuple(tuple(command) for command in commands)
            for phase, commands in data.get("upgrade", {}).items()
        },
        finish=tuple(tuple(command) for command in data.get("finish", ())),
    )
