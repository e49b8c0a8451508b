"""The store: whole revisions or none, nothing damaged is ever served."""

from __future__ import annotations

import contextlib
import datetime
import errno
import json
import multiprocessing
import os
import resource
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saltern.errors import ModelError
from saltern.model import Inventory, codec
from saltern.model import store as module
from saltern.model.compiler import compile_tree
from saltern.model.options import Options
from saltern.model.store import ENGINE, Revision, Store
from tests.model.trees import typed, write_tree
from tests.support import TREE
from tests.unit.model.conftest import files

ONE, TWO, THREE = (digit * 40 for digit in "123")


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    return Inventory(write_tree(tmp_path / "model", files()))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def revision(inventory: Inventory, store: Store) -> Revision:
    return compile_tree(inventory, ONE, store)


def reopened(store: Store, id: str = ONE, **arguments: Any) -> Revision:
    """Open as another process would: nothing is remembered."""
    module._revisions.clear()
    module._packs.clear()
    return store.open(id, **arguments)


def changed(inventory: Inventory, number: int) -> Inventory:
    """The tree with another value for every node."""
    content = files()
    content["classes/cluster/c1/init.yml"]["parameters"]["number"] = number
    write_tree(inventory.path, content)
    return Inventory(inventory.path)


# what is stored


def test_what_was_compiled_is_read(revision: Revision, store: Store) -> None:
    again = reopened(store)
    assert again.nodes() == ["db01.c1.test", "web01.c1.test", "web02.c1.test"]
    assert again.clusters() == ["c1"]
    assert again.nodes("c1") == again.nodes()
    assert again.nodes("c2") == []
    assert again.cluster_of("db01.c1.test") == "c1"
    assert again.applications("web01.c1.test") == ["web.server"]
    assert again.environment("web01.c1.test") == "base"
    assert again.roles("c1") == {
        "db.server": ["db01.c1.test"],
        "web.server": ["web01.c1.test", "web02.c1.test"],
    }
    node = again.node("web01.c1.test")
    assert node.pillar["__reclass__"]["revision"] == ONE
    assert node.files[-1] == "nodes/c1/web01.c1.test.yml"
    assert node.lifecycle["web.server"]["stage"] == "control"
    assert again.sources == revision.sources
    assert "classes/system/web.yml" in again.sources


def test_every_reader_gets_data_of_its_own(revision: Revision) -> None:
    first = revision.node("web01.c1.test")
    kept = typed(revision.node("web01.c1.test").pillar)

    def spoil(data: Any) -> None:
        for value in list(data.values() if isinstance(data, dict) else data):
            if isinstance(value, dict | list):
                spoil(value)
        data.clear()

    spoil(first.pillar)
    assert typed(revision.node("web01.c1.test").pillar) == kept


def test_the_manifest_is_for_people_too(revision: Revision) -> None:
    manifest = json.loads((revision.folder / "manifest.json").read_text())
    assert manifest["id"] == manifest["commit"] == ONE
    assert manifest["engine"] == ENGINE
    assert manifest["nodes"] == 3
    assert manifest["clusters"] == ["c1"]
    assert manifest["created_utc"].endswith("Z")


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_modes_do_not_depend_on_the_umask(inventory: Inventory, store: Store, umask: int) -> None:
    before = os.umask(umask)
    try:
        compile_tree(inventory, ONE, store)
    finally:
        os.umask(before)
    found = [store.path, *store.path.rglob("*")]
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in found}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o750}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o640}


def test_records_are_shared_between_revisions(inventory: Inventory, store: Store) -> None:
    base = compile_tree(inventory, ONE, store)
    content = files()
    content["nodes/c1/web01.c1.test.yml"]["parameters"]["x"] = 1
    write_tree(inventory.path, content)
    after = compile_tree(Inventory(inventory.path), TWO, store, base=base)
    old, new = base.packs()[0], [pack for pack in after.packs() if pack not in base.packs()]
    assert old in after.packs()
    assert len(new) == 1
    assert new[0][1] < old[1]


def test_many_small_packs_are_gathered(inventory: Inventory, store: Store) -> None:
    revision = compile_tree(inventory, f"{0:040x}", store)
    content = files()
    for number in range(1, 40):
        content["nodes/c1/web01.c1.test.yml"]["parameters"]["x"] = number
        write_tree(inventory.path, content)
        revision = compile_tree(Inventory(inventory.path), f"{number:040x}", store, base=revision)
        assert len(revision.packs()) <= 14
    after = reopened(store, revision.id)
    assert after.node("web01.c1.test").pillar["x"] == 39
    full = compile_tree(Inventory(inventory.path), ONE, Store(store.path.with_name("full")))
    assert [after.digest(name) for name in after.nodes()] == [
        full.digest(name) for name in full.nodes()
    ]


# what is not served


@pytest.mark.parametrize(
    "name", ["web01.c1.test.", "../web01.c1.test", "/etc/passwd", "", "c1/web01.c1.test", "x\0y"]
)
def test_an_unknown_node_is_a_sentence(revision: Revision, name: str) -> None:
    for ask in (revision.node, revision.cluster_of, revision.applications, revision.environment):
        with pytest.raises(ModelError, match="has no entry in the model at revision 111111111111"):
            ask(name)


@pytest.mark.parametrize("id", ["HEAD", "../x", "", "1" * 39, "worktree", "worktree-xyz", "1\n"])
def test_only_full_ids_are_paths(store: Store, id: str) -> None:
    for ask in (store.open, lambda id: store.writer(id, Options())):
        with pytest.raises(ModelError, match="is no revision id"):
            ask(id)


def test_a_revision_that_is_not_there_names_the_cure(store: Store) -> None:
    with pytest.raises(ModelError) as caught:
        store.open(ONE)
    assert "revision 111111111111 is not compiled" in str(caught.value)
    assert "Run `saltern model compile 111111111111`" in str(caught.value)
    assert not store.has(ONE)
    assert store.revisions() == []


def test_another_engine_is_not_served(
    revision: Revision, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert store.has(ONE)
    monkeypatch.setattr(module, "ENGINE", "0" * 12)
    with pytest.raises(ModelError, match="by another version of the engine"):
        reopened(store)
    assert not store.has(ONE)
    assert [info.engine for info in store.revisions()] == [ENGINE]


def test_other_options_are_not_served(revision: Revision, store: Store) -> None:
    assert store.has(ONE, options=Options())
    other = Options.build({"allow_none_override": True})
    with pytest.raises(ModelError, match="with other options"):
        store.open(ONE, options=other)
    # both may be there, each for its readers
    compile_tree(
        Inventory(Path(store.path.with_name("model")), allow_none_override=True), ONE, store
    )
    assert (
        store.open(ONE, options=other).info.options
        != store.open(ONE, options=Options()).info.options
    )


@pytest.mark.parametrize("cut", [0, 1, 100])
def test_a_truncated_pack_is_an_error_of_its_nodes(
    revision: Revision, store: Store, cut: int
) -> None:
    path = store.pack_path(revision.packs()[0][0])
    os.truncate(path, cut)
    after = reopened(store)
    assert not store.complete(after)
    for name in after.nodes():
        with pytest.raises(ModelError, match=f"the stored record of node {name} is damaged"):
            after.node(name)


def test_a_flipped_bit_is_an_error_of_its_node(revision: Revision, store: Store) -> None:
    name, offset, length, _ = revision.place("web01.c1.test")
    path = store.pack_path(name)
    content = bytearray(path.read_bytes())
    content[offset + length // 2] ^= 1
    path.write_bytes(content)
    after = reopened(store)
    with pytest.raises(ModelError, match=r"record of node web01\.c1\.test is damaged") as caught:
        after.node("web01.c1.test")
    assert "saltern model compile --full 111111111111" in str(caught.value)
    after.node("db01.c1.test")


def test_a_lost_pack_is_an_error(revision: Revision, store: Store) -> None:
    store.pack_path(revision.packs()[0][0]).unlink()
    with pytest.raises(ModelError, match="is damaged"):
        reopened(store).node("db01.c1.test")


@pytest.mark.parametrize("name", ["index", "manifest.json"])
@pytest.mark.parametrize("damage", ["cut", "empty", "gone", "other"])
def test_a_damaged_index_is_not_opened(
    revision: Revision, store: Store, name: str, damage: str
) -> None:
    path = revision.folder / name
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        new = {"cut": content[: len(content) // 2], "empty": b"", "other": b"\x80"}[damage]
        path.write_bytes(new)
    with pytest.raises(ModelError, match=r"the stored (index|manifest) is damaged"):
        reopened(store)
    assert not store.has(ONE)


def test_a_damaged_state_only_costs_time(revision: Revision, store: Store) -> None:
    (revision.folder / "state").write_bytes(b"")
    after = reopened(store)
    after.node("db01.c1.test")
    with pytest.raises(ModelError, match="the stored state is damaged"):
        _ = after.sources


def test_a_record_of_another_node_is_not_served(revision: Revision, store: Store) -> None:
    """A checksum can be right and the record be that of somebody else."""
    nodes = revision._index["nodes"]
    nodes["web01.c1.test"] = nodes["web02.c1.test"]
    with pytest.raises(ModelError, match=r"record of node web01\.c1\.test is damaged"):
        revision.node("web01.c1.test")


def test_a_damaged_revision_is_compiled_again(
    inventory: Inventory, revision: Revision, store: Store
) -> None:
    os.truncate(store.pack_path(revision.packs()[0][0]), 10)
    (revision.folder / "index").write_bytes(b"")
    again = compile_tree(inventory, ONE, store)
    assert reopened(store).node("db01.c1.test") == again.node("db01.c1.test")
    assert os.listdir(store.path / "tmp") == []


def test_a_hot_reader_sees_a_replaced_revision(
    inventory: Inventory, revision: Revision, store: Store
) -> None:
    assert store.open(ONE) is store.open(ONE)
    compile_tree(changed(inventory, 5), ONE, store, replace=True)
    assert store.open(ONE).node("db01.c1.test").pillar["number"] == 5


def test_a_stored_revision_is_kept(inventory: Inventory, revision: Revision, store: Store) -> None:
    after = compile_tree(inventory, ONE, store)
    assert after.created == revision.created
    assert after.folder == revision.folder


# crashes and neighbours


def test_what_a_crash_left_is_no_revision(
    inventory: Inventory, store: Store, tmp_path: Path
) -> None:
    """The process dies in the middle of the second revision."""
    compile_tree(inventory, ONE, store)
    script = f"""
import os, sys
sys.path.insert(0, {str(TREE)!r})
from saltern.model import Inventory
from saltern.model import store as module
from saltern.model.compiler import compile_tree
write = module._write
def dying(path, raw):
    if path.name == "manifest.json":
        os._exit(9)
    return write(path, raw)
module._write = dying
compile_tree(Inventory({str(inventory.path)!r}), {TWO!r}, module.Store({str(store.path)!r}))
"""
    changed(inventory, 2)
    done = subprocess.run([sys.executable, "-c", script], check=False)
    assert done.returncode == 9
    assert len(os.listdir(store.path / "tmp")) == 1
    assert [info.id for info in store.revisions()] == [ONE]
    assert not store.has(TWO)
    packs = len(os.listdir(store.path / "packs"))
    assert store.gc([ONE]) == []
    assert os.listdir(store.path / "tmp") == []
    assert len(os.listdir(store.path / "packs")) == packs - 1
    reopened(store).node("db01.c1.test")


def _compile(model: str, store: str, id: str, start: Any, told: Any) -> None:
    start.wait()
    try:
        told.put(compile_tree(Inventory(model), id, Store(store)).digest("db01.c1.test"))
    except Exception as err:
        told.put(repr(err))


def test_processes_that_compile_the_same_both_succeed(inventory: Inventory, store: Store) -> None:
    context = multiprocessing.get_context("fork")
    start, told = context.Event(), context.Queue()
    arguments = (str(inventory.path), str(store.path), ONE, start, told)
    processes = [context.Process(target=_compile, args=arguments) for _ in range(4)]
    for process in processes:
        process.start()
    start.set()
    digests = {told.get(timeout=60) for _ in processes}
    for process in processes:
        process.join(timeout=60)
    assert digests == {reopened(store).digest("db01.c1.test")}
    assert os.listdir(store.path / "tmp") == []
    assert len(store.revisions()) == 1


def test_readers_get_one_whole_revision_while_others_are_written(
    inventory: Inventory, store: Store
) -> None:
    """Compiles, replacements and collections go on; each answer is that of the asked revision."""
    revision = compile_tree(changed(inventory, 0), f"{0:040x}", store)
    faults: list[str] = []
    stop = threading.Event()
    current = [0]

    def read() -> None:
        while not stop.is_set():
            number = current[0]
            try:
                node = store.open(f"{number:040x}").node("web01.c1.test")
            except ModelError as err:
                faults.append(str(err))
                return
            sentinel = node.pillar["__reclass__"]["revision"]
            if node.pillar["number"] != number or sentinel != f"{number:040x}":
                faults.append(f"{number}: {node.pillar['number']} {sentinel}")

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    try:
        for number in range(1, 15):
            revision = compile_tree(
                changed(inventory, number), f"{number:040x}", store, base=revision
            )
            current[0] = number
            store.gc([], newest=3)
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert faults == []


def test_a_forked_reader_reads_at_the_same_time(revision: Revision) -> None:
    """Descriptors are shared after a fork: a read must not move a common position."""
    revision.node("db01.c1.test")
    context = multiprocessing.get_context("fork")
    told = context.Queue()

    def read() -> None:
        try:
            for _ in range(300):
                for name in revision.nodes():
                    assert revision.node(name).id == name
            told.put("")
        except BaseException as err:
            told.put(repr(err))

    processes = [context.Process(target=read) for _ in range(3)]
    for process in processes:
        process.start()
    assert [told.get(timeout=60) for _ in processes] == ["", "", ""]
    for process in processes:
        process.join(timeout=60)


def test_a_store_that_cannot_be_written(inventory: Inventory, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="cannot write the store: Not a directory"):
        compile_tree(inventory, ONE, Store(tmp_path / "file/store"))


def _compile_small(model: str, store: str, told: Any) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    try:
        compile_tree(Inventory(model), TWO, Store(store))
        told.put("")
    except BaseException as err:
        told.put(f"{type(err).__name__} {err}")


def test_a_full_disk_leaves_nothing(inventory: Inventory, revision: Revision, store: Store) -> None:
    context = multiprocessing.get_context("fork")
    told = context.Queue()
    process = context.Process(
        target=_compile_small, args=(str(inventory.path), str(store.path), told)
    )
    process.start()
    sentence = told.get(timeout=60)
    process.join(timeout=60)
    assert sentence == f"ModelError {store.path}: cannot write the store: File too large."
    assert [info.id for info in store.revisions()] == [ONE]
    assert os.listdir(store.path / "tmp") == []


def test_a_store_that_may_not_be_read(
    revision: Revision, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", refused)
    with pytest.raises(ModelError, match="cannot read the store: Permission denied"):
        reopened(store)


# collection


def test_gc_keeps_what_it_is_told_and_the_newest(inventory: Inventory, store: Store) -> None:
    revision = None
    ids = [f"{number:040x}" for number in range(6)]
    for number, id in enumerate(ids):
        revision = compile_tree(changed(inventory, number), id, store, base=revision)
    assert store.gc([ids[1]], newest=2, dry_run=True) == [ids[0], ids[2], ids[3]]
    assert len(store.revisions()) == 6
    assert store.gc([ids[1]], newest=2) == [ids[0], ids[2], ids[3]]
    assert [info.id for info in store.revisions()] == [ids[5], ids[4], ids[1]]
    for id, number in ((ids[1], 1), (ids[4], 4), (ids[5], 5)):
        after = reopened(store, id)
        assert {after.node(name).pillar["number"] for name in after.nodes()} == {number}
    used = {name for id in (ids[1], ids[4], ids[5]) for name, _ in store.open(id).packs()}
    assert {path.stem for path in (store.path / "packs").iterdir()} == used
    assert sorted(os.listdir(store.path / "revisions")) == sorted([ids[1], ids[4], ids[5]])


def test_gc_removes_what_serves_nobody(
    revision: Revision, inventory: Inventory, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = compile_tree(inventory, TWO, store)
    (damaged.folder / "index").write_bytes(b"")
    with monkeypatch.context() as patched:
        patched.setattr(module, "ENGINE", "0" * 12)
        compile_tree(inventory, THREE, store)
    assert sorted(store.gc([], newest=10)) == [TWO, THREE]
    assert [info.id for info in store.revisions()] == [ONE]


def test_gc_never_removes_a_pinned_revision_that_is_damaged(
    revision: Revision, store: Store
) -> None:
    """It may be pinned: that it is broken has to be seen, not that it is gone."""
    (revision.folder / "index").write_bytes(b"")
    assert store.gc([ONE]) == []
    with pytest.raises(ModelError, match="the stored index is damaged"):
        reopened(store)


# the code of the store


def test_all_that_decides_is_in_the_hash_of_the_engine() -> None:
    """Whatever the compiler imports of this package, and what that imports."""
    script = """
import sys
import saltern.model.compiler
print(*sorted(name for name in sys.modules if name.startswith("saltern.")))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=TREE
    )
    loaded = {name.removeprefix("saltern.model.") for name in done.stdout.split()}
    # the package itself, and the classes of errors
    assert loaded - {"saltern.model", "saltern.errors"} == set(module.ENGINE_MODULES)


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=2**63, max_value=2**200),
    st.integers(min_value=-(2**200), max_value=-(2**63)),
    st.floats(allow_nan=False),
    st.text(),
    st.binary(),
    st.dates(),
    st.datetimes(),
    st.datetimes(
        timezones=st.sampled_from(
            [datetime.timezone.utc, datetime.timezone(datetime.timedelta(hours=-3, minutes=-30))]
        )
    ),
    st.sampled_from(["\ud800", "\x00", "-----BEGIN PGP MESSAGE-----"]),
)
data = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner),
        st.dictionaries(st.one_of(st.text(), st.integers(), st.booleans(), st.none()), inner),
        st.tuples(inner, inner),
        st.sets(st.one_of(st.text(), st.integers(), st.dates())),
    ),
)


def _exact(value: Any) -> Any:
    if isinstance(value, tuple):
        return ("tuple", [_exact(item) for item in value])
    if isinstance(value, list):
        return ("list", [_exact(item) for item in value])
    if isinstance(value, set):
        return ("set", {_exact(item) for item in value})
    if isinstance(value, dict):
        return ("dict", [(_exact(key), _exact(item)) for key, item in value.items()])
    if isinstance(value, datetime.datetime):
        return ("datetime", value.isoformat())
    return (type(value).__name__, value)


@given(data)
def test_all_that_yaml_gives_is_read_back_exactly(value: Any) -> None:
    raw = codec.pack(value, "test")
    assert _exact(codec.unpack(raw)) == _exact(value)
    assert codec.pack(codec.unpack(raw), "test") == raw


@given(st.binary(max_size=200))
def test_other_bytes_are_a_value_error(raw: bytes) -> None:
    with contextlib.suppress(ValueError):
        codec.unpack(raw)


def test_what_cannot_be_stored_is_named_and_not_shown() -> None:
    with pytest.raises(ModelError) as caught:
        codec.pack({"a": [1, {"b": object()}]}, "node x")
    assert str(caught.value) == "node x: key a:1:b: a value of type object cannot be stored."
    deep: Any = "secret"
    for _ in range(2000):
        deep = [deep]
    with pytest.raises(ModelError, match="so deep a nesting cannot be stored") as caught:
        codec.pack({"a": deep}, "node x")
    assert "secret" not in str(caught.value)
