"""Shards that are missing, empty or cut: noticed before a tile reads them, and written anew."""

from __future__ import annotations

import pytest
from kill_points import contents
from kill_scenarios import Ingest

from surveycnn.errors import InputError
from surveycnn.sky.chunks import ChunkStore
from surveycnn.sky.tiling import TileGrid

SHARD, MESH = "image/c/0/1/0", "rms/c/0/0/0"


@pytest.fixture
def ingest(tmp_path) -> Ingest:
    made = Ingest(tmp_path / "kept")
    made.prepare(tmp_path / "a")
    made.act(tmp_path / "a")
    return made


@pytest.mark.parametrize("name", [SHARD, MESH])
@pytest.mark.parametrize("keep", [None, 0, 5, -100])
def test_finished_bands__without_one_that_is_damaged(ingest, tmp_path, name, keep):
    store, path = tmp_path / "a" / "m1.zarr", tmp_path / "a" / "m1.zarr" / name
    assert ChunkStore.open(store).finished_bands() == ("r",)
    whole = contents(store)
    if keep is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:keep])
    assert ChunkStore.open(store).finished_bands() == ()
    ingest.act(tmp_path / "a")
    assert ChunkStore.open(store).finished_bands() == ("r",)
    again = contents(store)
    assert {file for file in whole if whole[file] != again[file]} <= {"bands/0/zarr.json"} and whole.keys() == again.keys()


def test_ingest_band__over_what_a_power_cut_has_left(ingest, tmp_path):
    """Shards of a band without a record are of any length, and of zeros."""
    store = tmp_path / "a" / "m1.zarr"
    whole = contents(store)
    ChunkStore.open(store, mode="r+").remove_record("r")
    for name, content in (("image/c/0/0/0", b"\0" * 500), (SHARD, b"12345"), (MESH, b"")):
        (store / name).write_bytes(content)
    with pytest.raises(InputError, match="is not complete: run the ingest again"):
        ChunkStore.open(store).read_window(TileGrid("m1", ingest.ny, ingest.nx, 64, 64).tile(0, 0))
    ingest.act(tmp_path / "a")
    again = contents(store)
    assert {file for file in whole if whole[file] != again[file]} <= {"bands/0/zarr.json"} and whole.keys() == again.keys()
