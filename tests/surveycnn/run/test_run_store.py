"""Work store: a result is there whole or not at all, belongs to one unit, and the directory to one process."""

from __future__ import annotations

import subprocess
import sys

import pyarrow as pa
import pytest

from surveycnn.errors import ResumeError
from surveycnn.run.store import TileRecord, WorkStore, atomic_path, read_json, write_json
from surveycnn.sky.tiling import TileGrid

TILE = TileGrid("m1", 100, 100, 64, 64).tile(1, 0)
RECORD = TileRecord(2, {"read": 0.25}, [(64, 100, 0, 64)])


@pytest.fixture
def store(tmp_path) -> WorkStore:
    return WorkStore(tmp_path / "work")


def test_write_tile__round_trip(store):
    store.write_tile(TILE, "unit", pa.table({"a": [1, 2]}), RECORD)
    assert store.tile_record(TILE, "unit") == RECORD


def test_tile_record__of_an_empty_tile_is_a_result(store):
    store.write_tile(TILE, "unit", pa.table({"a": pa.array([], pa.int64())}), TileRecord(0, {}, []))
    assert store.tile_record(TILE, "unit") == TileRecord(0, {}, [])


def test_tile_record__of_another_unit_does_not_count(store):
    store.write_tile(TILE, "unit", pa.table({"a": [1]}), RECORD)
    assert store.tile_record(TILE, "another") is None


@pytest.mark.parametrize("keep", [0, 10, -1])
def test_tile_record__of_a_cut_file_does_not_count(store, keep):
    path = store.write_tile(TILE, "unit", pa.table({"a": [1]}), RECORD)
    path.write_bytes(path.read_bytes()[:keep])
    assert store.tile_record(TILE, "unit") is None


def test_write_tile__clears_an_earlier_failure(store):
    store.write_failure(TILE, "failed", "reason", "traceback")
    assert store.read_failure(TILE) == {"state": "failed", "reason": "reason", "details": "traceback"}
    store.write_tile(TILE, "unit", pa.table({"a": [1]}), RECORD)
    assert store.read_failure(TILE) is None


def test_atomic_path__leaves_the_old_file_on_an_error(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="in the middle"), atomic_path(path) as temporary:
        temporary.write_text("new")
        raise RuntimeError("in the middle")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_read_json__round_trip_and_damage(tmp_path):
    write_json(tmp_path / "a.json", {"b": [1, 2]})
    assert read_json(tmp_path / "a.json") == {"b": [1, 2]}
    (tmp_path / "a.json").write_text("{")
    assert read_json(tmp_path / "a.json") is None


def test_lock__refuses_a_second_process(store):
    code = (
        "import sys; from pathlib import Path; from surveycnn.run.store import WorkStore\n"
        f"with WorkStore(Path({str(store.root)!r})).lock(): pass"
    )
    with store.lock():
        second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert "is in use by process" in second.stderr
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_lock__says_who_holds_it(store):
    with store.lock(), pytest.raises(ResumeError, match=r"in use by process \d+ on .*: wait for that run"), store.lock():
        pass


def test_clear__removes_only_what_a_run_has_put_there(store):
    write_json(store.plan_path, {})
    store.write_tile(TILE, "unit", pa.table({"a": [1]}), RECORD)
    (store.root / "mine.txt").write_text("keep")
    store.clear()
    assert [path.name for path in store.root.iterdir()] == ["mine.txt"]
