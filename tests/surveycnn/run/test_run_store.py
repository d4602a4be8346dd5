"""Work store: a result is there whole or not at all, belongs to one unit, and the directory to one process."""

from __future__ import annotations

import pyarrow as pa
import pytest

from surveycnn.durable import partial_path, write_json
from surveycnn.errors import ResumeError
from surveycnn.run.store import TileRecord, WorkStore
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


def test_lock__says_who_holds_it(store):
    with store.lock(), pytest.raises(ResumeError, match=r"in use by process \d+ on .*: wait for that run"), store.lock():
        pass


def test_clear__removes_only_what_a_run_has_put_there(store):
    write_json(store.plan_path, {})
    store.write_tile(TILE, "unit", pa.table({"a": [1]}), RECORD)
    (store.root / "mine.txt").write_text("keep")
    store.clear()
    assert [path.name for path in store.root.iterdir()] == ["mine.txt"]


def test_sweep__removes_what_killed_processes_have_left(store):
    write_json(store.plan_path, {})
    path = store.write_tile(TILE, "unit", pa.table({"a": [1]}), RECORD)
    for whole in (store.plan_path, store.engine_path, path, store.failure_path(TILE), store.root / "notes.txt"):
        whole.parent.mkdir(parents=True, exist_ok=True)
        partial_path(whole).touch()
    (store.root / ".discarded" / "0123").mkdir(parents=True)
    store.sweep()
    found = sorted(path.relative_to(store.root).as_posix() for path in store.root.rglob("*") if path.is_file())
    assert found[0].startswith(".notes.txt.") and found[1:] == ["plan.json", "tiles/m1/r0001_c0000.parquet"]
    assert not (store.root / ".discarded").exists()


def test_sweep__without_a_plan_nothing_is_a_run_s(store):
    left = partial_path(store.tile_path(TILE))
    left.parent.mkdir(parents=True)
    left.touch()
    store.sweep()
    assert left.exists()
