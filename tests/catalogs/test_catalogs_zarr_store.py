import filecmp
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import xarray as xr
import zarr

from surveycnn.catalogs import columns
from surveycnn.catalogs.cubes import cubes_of
from surveycnn.catalogs.formats import zarr_store
from surveycnn.catalogs.formats.reading import check_zarr
from surveycnn.catalogs.formats.zarr_store import chunk_starts_of, create_zarr, open_zarr, read_zarr, write_zarr, write_zarr_rows
from surveycnn.catalogs.healpix import healpix_index
from surveycnn.catalogs.query import open_catalog
from surveycnn.catalogs.tables import arrow_to_numpy, dataset_to_arrow
from surveycnn.errors import SchemaError
from surveycnn.schema import Schema

CHUNK, SHARD = 64, 512


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Several shards in a small table."""
    monkeypatch.setattr(zarr_store, "CHUNK_ROWS", CHUNK)
    monkeypatch.setattr(zarr_store, "SHARD_ROWS", SHARD)


@pytest.fixture(scope="module")
def rows(table) -> pa.Table:
    """Rows of a few columns: two cubes, one of them with a plane of nothing but NaN, and odd texts."""
    extra = [*columns.morphology_columns({"bar": ["yes", "no"]}), columns.input_id_column(True)]
    values = Schema(extra).empty(table.num_rows)
    values["morph_bar_yes"].values[:] = np.arange(table.num_rows)
    texts = np.array(["", "M\u00fcller \U0001f30c", "a" * 300], dtype=object)
    values["input_id"].values[:] = texts[np.arange(table.num_rows) % 3]
    found = dataset_to_arrow(values)
    table = table.select(["source_id", "ra", "dec", "is_primary", "flux_g", "flux_r", "pz_mean"])
    for field in found.schema:
        table = table.append_column(field, found[field.name])
    return table


def files(store: Path) -> dict[str, Path]:
    return {path.relative_to(store).as_posix(): path for path in sorted(store.rglob("*")) if path.is_file()}


def assert_same(found: pa.Table, expected: pa.Table) -> None:
    assert found.schema.equals(expected.schema, check_metadata=True)
    for name in expected.column_names:
        np.testing.assert_array_equal(arrow_to_numpy(found[name]), arrow_to_numpy(expected[name]), err_msg=name)


def test_write_zarr__round_trip(rows, tmp_path):
    write_zarr(rows, tmp_path / "a.zarr", {"name": "kids"})
    check_zarr(tmp_path / "a.zarr")
    assert_same(read_zarr(tmp_path / "a.zarr"), rows)
    some = ["input_id", "pz_mean"]
    assert_same(read_zarr(tmp_path / "a.zarr", some, slice(500, 530)), rows.select(some).slice(500, 30))


def write_shard(store: Path, first_row: int, part: pa.Table) -> None:
    zarr_store.CHUNK_ROWS, zarr_store.SHARD_ROWS = CHUNK, SHARD
    write_zarr_rows(store, first_row, part)


def test_write_zarr_rows__by_many_processes_in_any_order_and_twice(rows, tmp_path):
    write_zarr(rows, tmp_path / "whole.zarr", {"name": "kids"})
    create_zarr(tmp_path / "pieces.zarr", rows.schema, rows.num_rows, {"name": "kids"}, is_sorted=True)
    with ProcessPoolExecutor(2) as pool:
        pieces = [
            pool.submit(write_shard, tmp_path / "pieces.zarr", first, rows.slice(first, 512)) for first in (1024, 0, 512, 0)
        ]
        for piece in pieces:
            piece.result()
    whole, pieces = files(tmp_path / "whole.zarr"), files(tmp_path / "pieces.zarr")
    assert whole.keys() == pieces.keys()
    assert all(filecmp.cmp(whole[name], pieces[name], shallow=False) for name in whole)


def test_write_zarr__cubes_are_links_to_their_columns(rows, tmp_path):
    store = tmp_path / "a.zarr"
    write_zarr(rows, store)
    cubes = cubes_of(rows.schema)
    assert {cube.name for cube in cubes} == {"flux", "morph", "morph_conc"}
    with xr.open_zarr(store, chunks=None) as dataset:
        assert dataset["band"].values.tolist() == ["g", "r"] and dataset["answer"].values.tolist() == ["bar_yes", "bar_no"]
        for cube in cubes:
            assert dataset[cube.name].dims == ("source", cube.dim)
            for place, name in enumerate(cube.columns):
                np.testing.assert_array_equal(dataset[cube.name].values[:, place], dataset[name].values)
                for shard in range(3):
                    assert os.path.samefile(store / cube.name / "c" / str(shard) / str(place), store / name / "c" / str(shard))
        assert dataset["flux"].sel(band="r").attrs["units"] == "nJy"
        xr.testing.assert_identical(dataset_to_arrow_and_back(dataset), dataset_to_arrow_and_back(dataset.drop_vars("flux")))


def dataset_to_arrow_and_back(dataset: xr.Dataset) -> xr.Dataset:
    return xr.Dataset({name: ("source", arrow_to_numpy(dataset_to_arrow(dataset)[name])) for name in ("flux_g", "morph_bar_yes")})


def test_write_zarr__copies_where_there_are_no_links(rows, tmp_path, monkeypatch):
    write_zarr(rows, tmp_path / "a.zarr")

    def no_links(source, target):
        if not source.name.endswith(".partial"):  # zarr's own, of metadata
            raise OSError("operation not permitted")
        make_link(source, target)

    make_link = os.link
    monkeypatch.setattr(os, "link", no_links)
    write_zarr(rows, tmp_path / "b.zarr")
    ours, theirs = files(tmp_path / "a.zarr"), files(tmp_path / "b.zarr")
    assert ours.keys() == theirs.keys() and ours["flux/c/0/1"].stat().st_nlink == 2
    assert (
        all(ours[name].read_bytes() == theirs[name].read_bytes() for name in ours) and theirs["flux/c/0/1"].stat().st_nlink == 1
    )


def test_write_zarr__few_files_of_many_chunks(rows, tmp_path):
    write_zarr(rows, tmp_path / "a.zarr")
    array = zarr.open_group(tmp_path / "a.zarr", mode="r")["flux_r"]
    assert array.chunks == (CHUNK,) and array.shards == (SHARD,)
    assert sorted(path.name for path in (tmp_path / "a.zarr" / "flux_r" / "c").iterdir()) == ["0", "1", "2"]


def test_write_zarr__first_index_of_each_chunk(rows, tmp_path):
    write_zarr(rows, tmp_path / "a.zarr")
    starts, n_rows = chunk_starts_of(open_zarr(tmp_path / "a.zarr"))
    index = healpix_index(rows["ra"].to_numpy(), rows["dec"].to_numpy())
    assert starts.tolist() == index[::CHUNK].tolist() and n_rows == CHUNK
    write_zarr(rows.take(pa.array(np.arange(rows.num_rows)[::-1])), tmp_path / "b.zarr")
    write_zarr(rows.select(["ra", "flux_r"]), tmp_path / "c.zarr")
    assert chunk_starts_of(open_zarr(tmp_path / "b.zarr")) is None and chunk_starts_of(open_zarr(tmp_path / "c.zarr")) is None


@pytest.mark.parametrize("n_rows", [0, 1, 64, 65, 512, 513])
def test_write_zarr__any_number_of_rows(n_rows, rows, tmp_path):
    write_zarr(rows.slice(3, n_rows), tmp_path / "a.zarr")
    assert_same(read_zarr(tmp_path / "a.zarr"), rows.slice(3, n_rows))
    with xr.open_zarr(tmp_path / "a.zarr", chunks=None) as dataset:
        assert dataset.sizes["source"] == n_rows


def test_write_zarr_rows__what_does_not_fit(rows, tmp_path):
    create_zarr(tmp_path / "a.zarr", rows.schema, 1500)
    with pytest.raises(SchemaError, match="rows 100 to 612 .* pieces begin at multiples of 512"):
        write_zarr_rows(tmp_path / "a.zarr", 100, rows.slice(0, 512))
    with pytest.raises(SchemaError, match="rows 1024 to 1536 .* do not fit into .* it has 1500 rows"):
        write_zarr_rows(tmp_path / "a.zarr", 1024, rows.slice(0, 512))
    with pytest.raises(SchemaError, match="rows 512 to 600 end inside of a shard"):
        write_zarr_rows(tmp_path / "a.zarr", 512, rows.slice(0, 88))
    with pytest.raises(SchemaError, match=r"with columns \['ra'\] do not fit"):
        write_zarr_rows(tmp_path / "a.zarr", 0, rows.select(["ra"]))


@pytest.mark.parametrize("name", ["", "a/b", "__x", ".x"])
def test_create_zarr__names_that_are_no_arrays(name, tmp_path):
    with pytest.raises(SchemaError, match="cannot be the name of a Zarr array"):
        write_zarr(pa.table({name: [1.0]}), tmp_path / "a.zarr")


def test_create_zarr__a_type_that_zarr_lacks(tmp_path):
    with pytest.raises(SchemaError, match="column 'day' is of type timestamp.*, for which Zarr has none"):
        write_zarr(pa.table({"day": pa.array([0], pa.timestamp("s"))}), tmp_path / "a.zarr")


def test_read_zarr__stores_that_are_not_ours(tmp_path):
    zarr.create_group(tmp_path / "a.zarr", zarr_format=3).create_group("ra")
    with pytest.raises(SchemaError, match="the attribute 'columns' of the Zarr store is None"):
        read_zarr(tmp_path / "a.zarr")
    with pytest.raises(SchemaError, match="'ra' is a group of the Zarr store, expected a column"):
        read_zarr(tmp_path / "a.zarr", ["ra"])


def test_to_xarray__as_the_store(rows, tmp_path):
    write_zarr(rows, tmp_path / "catalog.zarr")
    ours = open_catalog(tmp_path).to_xarray()
    with xr.open_zarr(tmp_path / "catalog.zarr", chunks=None) as store:
        assert set(ours.variables) == set(store.variables) - {"chunk"}
        for name, variable in ours.data_vars.items():
            assert variable.dims == store[name].dims and variable.attrs == store[name].attrs
            np.testing.assert_array_equal(variable.values, store[name].values)
    assert np.shares_memory(ours["flux"].values, ours["flux_r"].values)


def test_to_xarray__cubes_of_a_cross_match_are_ours(rows, tmp_path):
    write_zarr(rows, tmp_path / "catalog.zarr")
    matched = open_catalog(tmp_path).crossmatch(rows)
    assert {"flux_r", "flux_r_other"} <= set(matched.columns)
    assert matched.to_xarray()["flux"].attrs["columns"] == ["flux_g", "flux_r"]
