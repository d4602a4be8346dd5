"""The same rows come out of every format of a catalog, by the tools that people have."""

import shutil
import subprocess
from pathlib import Path

import astropy.units as u
import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
from astropy.table import Table

from surveycnn.catalogs import columns
from surveycnn.catalogs.formats.export import import_lsdb, write
from surveycnn.catalogs.formats.fits_table import read_fits
from surveycnn.catalogs.formats.zarr_store import read_zarr
from surveycnn.catalogs.healpix import healpix_index
from surveycnn.catalogs.publishing.publish import publish
from surveycnn.catalogs.query import open_catalog
from surveycnn.catalogs.tables import arrow_to_numpy, dataset_to_arrow, field_attrs
from surveycnn.schema import Schema

TEXTS = ["", "J1234+5678", "name of a hundred characters" * 4, "a\\b 'c' \"d\", e", "5 < 6 & 7"]
QUESTIONS = {"smooth_or_featured": ["smooth", "featured"], "bar": ["yes", "no", "weak"]}
BEHIND_FIRST_STAGE = columns.lens_columns(has_cascade=True)
N_ROWS = 300


def make_rows(n_rows: int) -> pa.Table:
    """Sorted rows with every kind of column and every kind of value that a format may lose."""
    rng = np.random.default_rng(3)
    models = [*BEHIND_FIRST_STAGE, *columns.morphology_columns(QUESTIONS), *columns.photoz_columns(3)]
    schema = columns.source_schema(["g", "r"], has_text_ids=True) + Schema(models)
    values = {name: variable.empty(n_rows) for name, variable in schema.items()}
    for name, column in values.items():
        if column.dtype.kind == "f":
            values[name] = (rng.normal(size=column.shape) * 10.0 ** rng.integers(-20, 20, column.shape)).astype(column.dtype)
            values[name][rng.random(n_rows) < 0.1] = np.nan
    ra, dec = rng.uniform(359, 361, n_rows) % 360, rng.uniform(-1, 1, n_rows)
    source_id = (1 << 62) - rng.permutation(3 * n_rows)[:n_rows]
    order = np.lexsort((source_id, healpix_index(ra, dec)))
    values |= {"ra": ra[order], "dec": dec[order], "source_id": source_id[order], "is_primary": rng.random(n_rows) < 0.5}
    values["input_id"] = np.array(TEXTS, dtype=object)[rng.integers(0, len(TEXTS), n_rows)]
    values["mosaic"] = np.array(["kids352"] * n_rows, dtype=object)
    values["lens_stage"] = rng.integers(0, 3, n_rows).astype("i2")
    values["flags"] = rng.integers(-(1 << 31), (1 << 31) - 1, n_rows).astype("i4")
    return dataset_to_arrow(schema.dataset(values))


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    return make_rows(N_ROWS)


@pytest.fixture(scope="module")
def folder(rows, tmp_path_factory) -> Path:
    return publish(rows, tmp_path_factory.mktemp("every_tool") / "catalog", partition_rows=150)


def partitions(folder: Path) -> list[str]:
    return sorted(map(str, folder.glob("hats/sources/dataset/**/Npix=*.parquet")))


def by_pyarrow(folder, tmp_path):
    return pads.dataset(partitions(folder), format="parquet").to_table()


def by_duckdb(folder, tmp_path):
    import duckdb

    with duckdb.connect() as connection:
        found = connection.sql(f"select * from read_parquet({partitions(folder)!r}, hive_partitioning=false)").to_arrow_table()
    return found


def by_pandas(folder, tmp_path):
    return open_catalog(folder).to_pandas()


def by_lsdb(folder, tmp_path):
    return import_lsdb().open_catalog(folder / "hats").compute(progress_bar=False)


def by_xarray(folder, tmp_path):
    import xarray as xr

    with xr.open_zarr(folder / "catalog.zarr", chunks=None) as dataset:
        return dataset.load()


def by_astropy_fits(folder, tmp_path):
    return Table.read(folder / "catalog.fits")


def by_astropy_votable(folder, tmp_path):
    return Table.read(open_catalog(folder).write(tmp_path / "a.vot"))


def by_astropy_ecsv(folder, tmp_path):
    return Table.read(open_catalog(folder).write(tmp_path / "a.ecsv"))


def by_astropy_parquet(folder, tmp_path):
    return Table.read(open_catalog(folder).write(tmp_path / "a.parquet"))


def by_astropy_parquet_votable(folder, tmp_path):
    return Table.read(open_catalog(folder).write(tmp_path / "a.parquet"), format="parquet.votable")


def by_our_zarr_reader(folder, tmp_path):
    return read_zarr(folder / "catalog.zarr")


def by_our_fits_reader(folder, tmp_path):
    return read_fits(folder / "catalog.fits")


ASTROPY = [by_astropy_fits, by_astropy_votable, by_astropy_ecsv, by_astropy_parquet]
TOOLS = [by_pyarrow, by_duckdb, by_pandas, by_lsdb, by_xarray, *ASTROPY, by_astropy_parquet_votable]
TOOLS += [by_our_zarr_reader, by_our_fits_reader]


def values_of(found: object, name: str) -> np.ndarray:
    """Column of whatever a tool gives, text as objects, what is masked as the catalog has it."""
    if isinstance(found, pa.Table):
        found = {name: arrow_to_numpy(found[name])}
    column = found[name]
    if hasattr(column, "filled"):
        null = column.info.meta.get("values", {}).get("null")
        column = column.filled(np.nan if column.dtype.kind == "f" else "" if column.dtype.kind in "SU" else null)
    values = np.asarray(column)
    if values.dtype.kind in "SUT":
        return (np.char.decode(values, "ascii") if values.dtype.kind == "S" else values).astype(object)
    return np.stack(values) if values.dtype == object and not isinstance(values[0], str) else values


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.__name__.removeprefix("by_"))
def test_every_tool__same_rows(tool, rows, folder, tmp_path):
    found = tool(folder, tmp_path)
    order, expected_order = (np.argsort(np.asarray(table["source_id"])) for table in (found, rows))
    for field in rows.schema:
        values, expected = values_of(found, field.name)[order], arrow_to_numpy(rows[field.name])[expected_order]
        np.testing.assert_array_equal(values, expected, err_msg=field.name)
        assert values.dtype.kind == expected.dtype.kind and values.shape == expected.shape
        assert values.dtype == object or values.dtype.itemsize == expected.dtype.itemsize, field.name


@pytest.mark.parametrize("tool", ASTROPY, ids=lambda tool: tool.__name__.removeprefix("by_"))
def test_every_tool__astropy_knows_what_columns_are(tool, rows, folder, tmp_path):
    table = tool(folder, tmp_path)
    for field in rows.schema:
        attrs, column = field_attrs(field), table[field.name]
        assert (column.unit or u.one) == u.Unit(attrs.get("units", ""))
        assert column.description.split() == attrs["description"].split() and column.meta["ucd"] == attrs["ucd"]
    if tool is not by_astropy_parquet:  # whose reader masks nothing
        np.testing.assert_array_equal(table["lens_stage"].mask, rows["lens_stage"].to_numpy() == 0)


def test_every_tool__duckdb_and_arrow_see_units(folder):
    field = pq.read_schema(partitions(folder)[0]).field("flux_r")
    assert field.metadata[b"units"] == b"nJy" and field.metadata[b"filled_by"] == b"photometry"


@pytest.mark.parametrize("suffix", [".fits", ".parquet", ".vot", ".ecsv", ".csv", ".zarr"])
def test_every_tool__no_rows(suffix, tmp_path):
    import xarray as xr

    empty = make_rows(0)
    path = write(empty, tmp_path / f"a{suffix}")
    if suffix == ".zarr":
        with xr.open_zarr(path) as dataset:
            assert dataset.sizes == {"source": 0, "band": 2, "answer": 5, "component": 3, "chunk": 0}
        assert read_zarr(path).schema.equals(empty.schema, check_metadata=True)
        return
    table = Table.read(path)
    assert len(table) == 0 and {"source_id", "lens_prob"} <= set(table.colnames)
    if suffix == ".fits":
        assert read_fits(path).schema.equals(empty.schema, check_metadata=True)


def test_every_tool__a_catalog_without_rows(tmp_path):
    folder = publish(make_rows(0), tmp_path / "empty")
    assert len(Table.read(folder / "catalog.fits")) == len(open_catalog(folder)) == 0
    assert open_catalog(folder).to_xarray()["flux"].shape == (0, 2)


@pytest.mark.skipif(shutil.which("stilts") is None, reason="stilts, the tool set of STIL and TOPCAT, is not installed")
def test_every_tool__stil(rows, folder, tmp_path):
    """STIL gives back the rows of our FITS table and what TOPCAT shows of columns, and finds no fault in our VOTable."""
    run("tpipe", f"in={folder / 'catalog.fits'}", "ofmt=fits-basic", f"out={tmp_path / 'again.fits'}")
    found = Table.read(tmp_path / "again.fits")
    for number, field in enumerate(rows.schema, start=1):
        attrs, column = field_attrs(field), found[field.name]
        np.testing.assert_array_equal(values_of(found, field.name), arrow_to_numpy(rows[field.name]), err_msg=field.name)
        assert (column.unit or u.one) == u.Unit(attrs.get("units", "")) and found.meta[f"TUCD{number}"] == attrs["ucd"]
        assert attrs["description"].startswith(found.meta[f"TCOMM{number}"])  # STIL cuts what it writes, not what it reads
    np.testing.assert_array_equal(found["lens_stage"].mask, rows["lens_stage"].to_numpy() == 0)
    assert run("votlint", f"votable={open_catalog(folder).write(tmp_path / 'a.vot')}") == ""


def run(*arguments: str) -> str:
    done = subprocess.run(["stilts", *arguments], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr
