"""The key-value store: one contract over LevelDB and memory, and what LevelDB does when hurt."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.errors import (
    StorageCorrupt,
    StorageError,
    StorageExists,
    StorageFailed,
    StorageLocked,
    StorageMissing,
)
from node.storage.kv import KeyValueStore, LevelDb, MemoryStore, Row, backup

KEYS = st.binary(max_size=3)
BATCHES = st.lists(
    st.tuples(st.dictionaries(KEYS, st.binary(max_size=5), max_size=8), st.lists(KEYS, max_size=4)),
    max_size=6,
)


@pytest.fixture(params=["leveldb", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[KeyValueStore]:
    opened: KeyValueStore
    opened = LevelDb(tmp_path / "db", create=True) if request.param == "leveldb" else MemoryStore()
    yield opened
    opened.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=BATCHES, ends=st.tuples(KEYS, st.none() | KEYS))
def test_reads_agree_with_a_dict(
    store: KeyValueStore,
    batches: list[tuple[dict[bytes, bytes], list[bytes]]],
    ends: tuple[bytes, bytes | None],
) -> None:
    store.write([], [key for key, _ in store.scan(b"", None)], sync=False)
    model: dict[bytes, bytes] = {}
    for puts, deletes in batches:
        store.write(puts.items(), deletes, sync=False)
        model.update(puts)
        for key in deletes:
            model.pop(key, None)  # a key in both is gone: deletes come after puts
        assert list(store.scan(b"", None)) == sorted(model.items())
    start, stop = ends
    wanted = [row for row in sorted(model.items()) if start <= row[0] < (stop or b"\xff" * 4)]
    assert list(store.scan(start, stop)) == (wanted if stop is None or stop else [])
    for key in {start, *model}:
        assert store.get(key) == model.get(key)


def broken_rows() -> Iterator[Row]:
    yield b"a", b"new"
    raise RuntimeError("the block turned out to be bad")


def test_a_batch_that_breaks_off_changes_nothing(store: KeyValueStore) -> None:
    store.write([(b"a", b"old")], [], sync=True)
    with pytest.raises(RuntimeError, match="turned out"):
        store.write(broken_rows(), [], sync=True)
    assert list(store.scan(b"", None)) == [(b"a", b"old")]


def test_a_scan_and_a_snapshot_keep_their_moment(store: KeyValueStore) -> None:
    store.write([(b"a", b"1"), (b"b", b"2")], [], sync=False)
    rows = store.scan(b"", None)
    with store.snapshot() as snapshot:
        store.write([(b"b", b"3"), (b"c", b"4")], [b"a"], sync=False)
        assert list(rows) == [(b"a", b"1"), (b"b", b"2")]
        assert list(snapshot.scan(b"", None)) == [(b"a", b"1"), (b"b", b"2")]
        assert (snapshot.get(b"b"), snapshot.get(b"c")) == (b"2", None)
    assert list(store.scan(b"", None)) == [(b"b", b"3"), (b"c", b"4")]


def test_other_threads_read_while_one_writes(store: KeyValueStore) -> None:
    torn: list[Row] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            with store.snapshot() as snapshot:
                pair = snapshot.get(b"left"), snapshot.get(b"right")
            if pair[0] != pair[1]:
                torn.append((pair[0] or b"", pair[1] or b""))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(300):
            value = b"%d" % number
            store.write([(b"left", value), (b"right", value)], [], sync=False)
    finally:
        done.set()
        reader.join(30)
    assert not reader.is_alive()
    assert torn == []


def test_a_backup_is_the_store_of_its_moment(store: KeyValueStore, tmp_path: Path) -> None:
    rows = [(b"%05d" % number, bytes(2000)) for number in range(1500)]  # three batches
    store.write(rows, [], sync=False)
    assert backup(store, tmp_path / "copy") == len(rows)
    copy = LevelDb(tmp_path / "copy", create=False)
    assert list(copy.scan(b"", None)) == rows
    copy.close()
    with pytest.raises(StorageExists, match="exists already"):
        backup(store, tmp_path / "copy")


def test_what_was_written_is_there_after_opening_again(tmp_path: Path) -> None:
    for number in range(3):
        store = LevelDb(tmp_path / "db", create=number == 0)
        assert len(list(store.scan(b"", None))) == number
        store.write([(b"%d" % number, b"v")], [], sync=True)
        store.close()


def test_a_killed_writer_leaves_whole_batches(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from node.storage.kv import LevelDb\n"
        "store = LevelDb(Path(sys.argv[1]), create=True)\n"
        "for number in range(10**9):\n"
        "    value = b'%d' % number\n"
        "    store.write([(b'%d' % row, value * 50) for row in range(100)], [], sync=False)\n"
        "    print(number, flush=True)\n"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "db")], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    told = [int(writer.stdout.readline()) for _ in range(40)][-1]
    writer.kill()
    told = max([told, *map(int, writer.stdout.read().split())])
    writer.wait(30)
    writer.stdout.close()
    store = LevelDb(tmp_path / "db", create=False)
    values = {value for _, value in store.scan(b"", None)}
    store.close()
    assert len(values) == 1
    value = values.pop()
    assert value in (b"%d" % told * 50, b"%d" % (told + 1) * 50)


def test_a_missing_database_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageMissing, match="sahara run") as caught:
        LevelDb(tmp_path / "db", create=False)
    assert caught.value.code == "storage.missing"
    assert not (tmp_path / "db").exists()


def test_a_second_opener_is_told_who_is_in_the_way(tmp_path: Path) -> None:
    store = LevelDb(tmp_path / "db", create=True)
    with pytest.raises(StorageLocked, match="another node runs in this home") as caught:
        LevelDb(tmp_path / "db", create=False)
    assert caught.value.code == "storage.locked"
    store.close()
    LevelDb(tmp_path / "db", create=False).close()


def test_a_place_that_cannot_hold_a_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageFailed, match="Choose a home"):
        LevelDb(tmp_path / "file", create=True)
    with pytest.raises(StorageFailed, match="Choose a home"):
        LevelDb(tmp_path / "file" / "db", create=True)


def written(path: Path) -> list[Row]:
    """A database whose rows stand in table files, closed."""
    rows = [(b"%05d" % number, b"%d" % number * 100) for number in range(20_000)]
    store = LevelDb(path, create=True)
    for start in range(0, len(rows), 1000):
        store.write(rows[start : start + 1000], [], sync=False)
    store.close()
    LevelDb(path, create=False).close()  # opening moves the log into a table
    return rows


def read_all(path: Path, rows: list[Row]) -> int:
    """Read every row both ways; how many calls refused. Whatever comes back must be true."""
    refused = 0
    try:
        store = LevelDb(path, create=False)
    except StorageError as error:
        assert error.code == "storage.corrupt", error
        return 1
    for key, value in rows[::97]:
        try:
            assert store.get(key) == value
        except StorageCorrupt as error:
            assert str(path) in error.sentence
            refused += 1
    try:
        assert list(store.scan(b"", None)) == rows
    except StorageCorrupt:
        refused += 1
    store.close()
    return refused


@pytest.mark.parametrize("part", range(4))
def test_a_flipped_byte_in_a_table_is_refused_not_read(tmp_path: Path, part: int) -> None:
    path = tmp_path / "db"
    rows = written(path)
    table = max(path.glob("*.ldb"), key=lambda file: file.stat().st_size)
    content = bytearray(table.read_bytes())
    content[len(content) * (2 * part + 1) // 8] ^= 0x10
    table.write_bytes(content)
    assert read_all(path, rows) > 0


@pytest.mark.parametrize("kept_bytes", [0, 20, 48, 1_000, -1])
def test_a_table_that_was_cut_short_is_refused_as_damage(tmp_path: Path, kept_bytes: int) -> None:
    path = tmp_path / "db"
    rows = written(path)
    table = max(path.glob("*.ldb"), key=lambda file: file.stat().st_size)
    table.write_bytes(table.read_bytes()[:kept_bytes])
    assert read_all(path, rows) > 0


def test_a_table_that_goes_missing_after_the_start_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "db"
    rows = written(path)
    store = LevelDb(path, create=False)
    for table in path.glob("*.ldb"):
        table.unlink()
    with pytest.raises(StorageCorrupt, match="Move it away"):
        list(store.scan(b"", None))
    store.close()
    assert rows


@pytest.mark.parametrize("pattern", ["*.ldb", "MANIFEST-*", "CURRENT"])
def test_a_lost_file_is_refused(tmp_path: Path, pattern: str) -> None:
    path = tmp_path / "db"
    rows = written(path)
    max(path.glob(pattern), key=lambda file: file.stat().st_size).unlink()
    with pytest.raises((StorageCorrupt, StorageMissing)):
        LevelDb(path, create=False).close()
    assert rows


def test_a_flipped_byte_in_the_log_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "db"
    store = LevelDb(path, create=True)
    for number in range(100):
        store.write([(b"%d" % number, b"value")], [], sync=True)
    store.close()
    log = max(path.glob("*.log"), key=lambda file: file.stat().st_size)
    content = bytearray(log.read_bytes())
    content[len(content) // 2] ^= 0x01
    log.write_bytes(content)
    with pytest.raises(StorageCorrupt, match="Move it away") as caught:
        LevelDb(path, create=False)
    assert caught.value.code == "storage.corrupt"
