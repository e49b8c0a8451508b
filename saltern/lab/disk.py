"""Exchange the image below a host's disk; what is kept goes over to the new one.

A disk is the upper layer of an overlay on an image. The new layer is made beside the old one, what
is kept is renamed into it, and then it takes the old one's place. A journal beside both says how
far that is, so a crash at any moment is finished by whoever comes next: each kept path is always in
exactly one of the two, and the journal goes only when the host runs on the new image.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from saltern.errors import LabError
from saltern.lab import accounts
from saltern.lab.accounts import Accounts, walk

# How far an exchange is: kept paths are moved, layers change places, the host boots.
MOVE, SWITCH, BOOT = "move", "switch", "boot"
#: Marks of the overlay on files of an upper layer.
OVERLAY = "trusted.overlay."
OPAQUE = f"{OVERLAY}opaque"
#: Marks that say that a file's content or place is in the lower layer.
BORROWED = (f"{OVERLAY}redirect", f"{OVERLAY}metacopy")
#: Whose a file was before its owner was translated, so that none is translated twice.
OWNER = "trusted.saltern.owner"


@dataclass(frozen=True)
class Exchange:
    """One exchange of an image, as its journal has it.

    :param image: name of the new image
    :param root_image: its root file system in the cache
    :param former: root file system of the image before
    :param binds: what the host sees of the machine from now on
    :param keep: paths that are kept; the last part may hold ``*``
    :param accounts: what the new image needs to own them
    :param token: names this exchange
    :param stage: how far it is
    """

    image: str
    root_image: str
    former: str
    binds: tuple[Mapping[str, Any], ...]
    keep: tuple[str, ...]
    accounts: Accounts
    token: str
    stage: str = MOVE


def journal(place: Path) -> Path:
    """Return the journal of a host's exchange; ``place`` is the host's directory in the lab."""
    return place / "reimage.json"


def load(place: Path) -> Exchange | None:
    """Return the exchange that is under way, or None.

    :raises LabError: the journal cannot be read
    """
    try:
        data: dict[str, Any] = json.loads(journal(place).read_text(encoding="utf-8"))
        told = data.pop("accounts")
        users, groups = (
            {int(old): int(new) for old, new in told[key].items()} for key in ("users", "groups")
        )
        lines = {name: tuple(rows) for name, rows in told["lines"].items()}
        for key in ("binds", "keep"):
            data[key] = tuple(data[key])
        return Exchange(**data, accounts=Accounts(users, groups, lines))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        raise LabError(
            "the journal of an exchange of images cannot be read",
            where=str(journal(place)),
            cure="Look at upper and upper.new beside it: kept directories are in one of them",
        ) from err


def save(place: Path, work: Exchange) -> None:
    """Note how far an exchange is; it is on the disk when this returns."""
    partial = journal(place).with_suffix(".new")
    with partial.open("w", encoding="utf-8") as stream:
        json.dump(asdict(work), stream, indent=1)
        stream.flush()
        os.fsync(stream.fileno())
    partial.rename(journal(place))
    _sync(place)


def plan(
    place: Path,
    image: str,
    root_image: Path,
    former: Path,
    binds: Sequence[Mapping[str, Any]],
    keep: Sequence[str],
) -> Exchange:
    """Return the exchange of a host's image; nothing is touched, and the host may still run.

    :param place: the host's directory in the lab
    :param image: name of the new image
    :param root_image: its root file system
    :param former: root file system of the image that the host has
    :param binds: what the host sees of the machine from now on
    :param keep: paths that are kept, as :func:`saltern.rollout.keeping.of_node` returns them
    :raises LabError: a kept file is not wholly on the host's disk
    """
    upper = place / "upper"
    tops = [top / path for top in (upper, former) for path in expand((top,), keep)]
    for top in tops:
        _whole(top)
    users, groups = accounts.owners(tops)
    old_etc = place / "reimage.etc"
    shutil.rmtree(old_etc, ignore_errors=True)
    old_etc.mkdir()
    for name in ("passwd", "group"):
        found = next(p for p in (upper / "etc" / name, former / "etc" / name) if p.is_file())
        shutil.copyfile(found, old_etc / name)
    needed = accounts.needed(users, groups, old_etc, root_image / "etc")
    shutil.rmtree(old_etc)
    return Exchange(
        image,
        str(root_image),
        str(former),
        tuple(binds),
        tuple(keep),
        needed,
        uuid.uuid4().hex[:12],
    )


def begin(place: Path, work: Exchange) -> None:
    """Begin an exchange on the disk of a host that is stopped and not mounted."""
    for name in ("upper.new", "upper.old"):
        shutil.rmtree(place / name, ignore_errors=True)
    save(place, work)


def advance(place: Path, work: Exchange) -> Exchange:
    """Bring the disk of a stopped host to the new image, from wherever a crash left it.

    :returns: the exchange, whose stage is ``switch`` or ``boot``
    :raises LabError: a path cannot be moved or read; nothing is lost, call it again
    """
    upper, fresh, former = place / "upper", place / "upper.new", place / "upper.old"
    try:
        if work.stage == MOVE:
            fresh.mkdir(exist_ok=True)
            _move(upper, fresh, work)
            work = replace(work, stage=SWITCH)
            save(place, work)
        if work.stage == SWITCH:
            if fresh.is_dir():
                if upper.is_dir():
                    upper.rename(former)
                fresh.rename(upper)
                _sync(place)
            shutil.rmtree(place / "work", ignore_errors=True)
            (place / "prepared").unlink(missing_ok=True)
    except OSError as err:
        raise LabError(
            f"its disk cannot be brought to image {work.image}: {err.strerror} ({err.filename})",
            where=str(place),
            cure="Repeat the call when that is mended; what is kept is in upper or upper.new",
        ) from err
    return work


def end(place: Path) -> None:
    """Forget an exchange whose host runs on the new image, with the layer that was before."""
    shutil.rmtree(place / "upper.old", ignore_errors=True)
    journal(place).unlink(missing_ok=True)


def expand(tops: Iterable[Path], keep: Sequence[str]) -> list[str]:
    """Return the relative paths that ``keep`` names in any of some layers.

    :param tops: layers
    :param keep: absolute paths; the last part may hold ``*``
    """
    found: dict[str, None] = {}
    for path in keep:
        relative = Path(path.lstrip("/"))
        if "*" not in relative.name:
            found[str(relative)] = None
            continue
        for top in tops:
            matches = sorted((top / relative.parent).glob(relative.name))
            found.update((str(match.relative_to(top)), None) for match in matches)
    return list(found)


def _move(upper: Path, fresh: Path, work: Exchange) -> None:
    lower, image = Path(work.former), Path(work.root_image)
    for relative in expand((fresh, upper, lower), work.keep):
        source, target = upper / relative, fresh / relative
        alone = _hidden(upper, str(Path(relative).parent))
        if _there(source) and not _whiteout(source) and not _there(target):
            _parents(fresh, Path(relative).parent, (image, upper, lower), work.accounts)
            os.rename(source, target)
            _sync(target.parent)
            _sync(source.parent)
        if not _there(target) and _there(lower / relative) and not _hidden(upper, relative):
            _parents(fresh, Path(relative).parent, (image, upper, lower), work.accounts)
            _copy(lower / relative, target, work.token)
        elif not alone and not _opaque(target):
            _fill(lower / relative, target, work.token)
        if target.is_dir() and not target.is_symlink():
            os.setxattr(target, OPAQUE, b"y")
        _settle(target, work)
    for name, lines in work.accounts.lines.items():
        _append(image / "etc" / name, fresh, lines)


def _there(path: Path) -> bool:
    return os.path.lexists(path)


def _whiteout(path: Path) -> bool:
    """Whether it is the overlay's mark of something that was removed."""
    try:
        info = path.lstat()
    except OSError:
        return False
    return stat.S_ISCHR(info.st_mode) and info.st_rdev == 0


def _opaque(path: Path) -> bool:
    return _mark(path, OPAQUE) in (b"y", b"x")


def _hidden(upper: Path, relative: str) -> bool:
    """Whether the upper layer hides what the lower one has there: removed, or made anew above."""
    place = upper
    for part in Path(relative).parts:
        place = place / part
        if _whiteout(place) or _opaque(place):
            return True
        if not _there(place):
            return False
    return False


def _fill(lower: Path, target: Path, token: str) -> None:
    """Add to a directory of the upper layer what the host saw of the lower one in it."""
    if not lower.is_dir() or lower.is_symlink():
        return
    if not target.is_dir() or target.is_symlink():
        return
    for item in sorted(lower.iterdir()):
        other = target / item.name
        if not _there(other):
            _copy(item, other, token)
        elif not _opaque(other):
            _fill(item, other, token)


def _copy(source: Path, target: Path, token: str) -> None:
    """Copy a file or a tree with its owners; it is there wholly or not at all."""
    partial = target.with_name(f".{target.name}.{token}")
    if partial.is_dir() and not partial.is_symlink():
        shutil.rmtree(partial)
    else:
        partial.unlink(missing_ok=True)
    if source.is_dir() and not source.is_symlink():
        shutil.copytree(source, partial, symlinks=True)
    else:
        shutil.copy2(source, partial, follow_symlinks=False)
    for path in walk(partial):
        info = (source / path.relative_to(partial)).lstat() if path != partial else source.lstat()
        os.lchown(path, info.st_uid, info.st_gid)
        if not stat.S_ISLNK(info.st_mode):
            path.chmod(stat.S_IMODE(info.st_mode))
    os.rename(partial, target)


def _parents(fresh: Path, relative: Path, like: Sequence[Path], known: Accounts) -> None:
    """Make the directories above a kept path, as the first of ``like`` that has them.

    The first of ``like`` is the new image; the numbers of the others are the old ones.
    """
    place = Path()
    for part in relative.parts:
        place = place / part
        if (fresh / place).is_dir():
            continue
        old, info = next(
            (number, one)
            for number, one in enumerate(_stat(top / place) for top in like)
            if one is not None
        )
        users, groups = (known.users, known.groups) if old else ({}, {})
        (fresh / place).mkdir()
        user, group = users.get(info.st_uid, info.st_uid), groups.get(info.st_gid, info.st_gid)
        os.chown(fresh / place, user, group)
        (fresh / place).chmod(stat.S_IMODE(info.st_mode))


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except OSError:
        return None


def _settle(top: Path, work: Exchange) -> None:
    """Make a kept tree one of the new layer: no marks of the old one, its owners' new numbers."""
    for path in list(walk(top)):
        if _whiteout(path):
            path.unlink()
            continue
        for name in _marks(path):
            if not (name == OPAQUE and path == top):
                os.removexattr(path, name, follow_symlinks=False)
        _translate(path, work)


def _translate(path: Path, work: Exchange) -> None:
    users, groups = work.accounts.users, work.accounts.groups
    told = (_mark(path, OWNER) or b"").decode(errors="replace").split()
    if len(told) == 3 and told[0] == work.token:
        user, group = int(told[1]), int(told[2])
    else:
        info = path.lstat()
        user, group = info.st_uid, info.st_gid
    if user not in users and group not in groups:
        return
    mode = path.lstat().st_mode
    note = f"{work.token} {user} {group}".encode()
    os.setxattr(path, OWNER, note, follow_symlinks=False)
    os.lchown(path, users.get(user, user), groups.get(group, group))
    if not stat.S_ISLNK(mode):
        path.chmod(stat.S_IMODE(mode))  # a new owner takes set-user-id bits away


def _append(source: Path, fresh: Path, lines: Sequence[str]) -> None:
    """Write a file of accounts of the new image with some more lines."""
    if not source.is_file():
        return
    target = fresh / "etc" / source.name
    _parents(fresh, Path("etc"), (source.parent.parent,), Accounts())
    info = source.stat()
    text = source.read_text(encoding="utf-8")
    if text and not text.endswith("\n"):
        text += "\n"
    target.write_text(text + "\n".join(lines) + "\n", encoding="utf-8")
    os.chown(target, info.st_uid, info.st_gid)
    target.chmod(stat.S_IMODE(info.st_mode))


def _whole(top: Path) -> None:
    """Refuse a tree of which parts are somewhere else on the lower layer."""
    for path in walk(top):
        for name in BORROWED:
            if _mark(path, name) is not None:
                raise LabError(
                    f"{path} is partly in the image ({name}) and cannot be kept by renaming it",
                    cure="Stop the host and copy the directory away and back once",
                )


def _marks(path: Path) -> Iterator[str]:
    names = os.listxattr(path, follow_symlinks=False)
    return (name for name in names if name.startswith(OVERLAY))


def _mark(path: Path, name: str) -> bytes | None:
    try:
        return os.getxattr(path, name, follow_symlinks=False)
    except OSError as err:
        if err.errno in (errno.ENODATA, errno.ENOENT, errno.ENOTSUP, errno.ENOTDIR, errno.EPERM):
            return None
        raise


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
