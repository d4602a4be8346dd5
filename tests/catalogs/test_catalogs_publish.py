import hashlib
import json
import warnings

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xarray as xr
from astropy.io import fits
from astropy.table import Table
from mocpy import MOC

from surveycnn.catalogs.columns import source_schema
from surveycnn.catalogs.formats.export import import_lsdb
from surveycnn.catalogs.formats.fits_table import read_fits
from surveycnn.catalogs.formats.zarr_store import read_zarr
from surveycnn.catalogs.publishing import building, swap
from surveycnn.catalogs.publishing.pieces import MARGIN, WriteIndex
from surveycnn.catalogs.publishing.publish import publish
from surveycnn.catalogs.query import open_catalog
from surveycnn.catalogs.source import HatsSource, count_rows, hats_partitions
from surveycnn.catalogs.tables import arrow_to_numpy, field_attrs
from surveycnn.errors import CatalogError, ConfigError, SchemaError, SurveyCNNError
from surveycnn.sky.sphere import unit_vectors


def contents(folder):
    """Digest of each file below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def assert_same_rows(table, expected):
    """Columns, types, metadata and values agree; NaN equals NaN."""
    assert table.column_names == expected.column_names
    for field in expected.schema:
        assert table.schema.field(field.name).type == field.type
        found, wanted = field_attrs(table.schema.field(field.name)), field_attrs(field)
        assert {**found, "dim": ""} == {**wanted, "dim": ""}
        np.testing.assert_array_equal(arrow_to_numpy(table[field.name]), arrow_to_numpy(expected[field.name]))


def read_hats(folder):
    source = HatsSource(folder / "hats")
    return pa.concat_tables([source.schema.empty_table(), *source.scan(source.schema.names, None)])


def test_publish__every_format_has_the_same_rows(published, table):
    assert len(hats_partitions(published / "hats")) > 3
    assert_same_rows(read_hats(published), table)
    assert_same_rows(read_zarr(published / "catalog.zarr"), table)
    assert_same_rows(read_fits(published / "catalog.fits"), table)
    assert count_rows(published) == {"hats": 1500, "zarr": 1500, "fits": 1500}


@pytest.mark.parametrize("n_rows", [0, 1])
def test_publish__few_rows(n_rows, table_maker, tmp_path):
    table = table_maker(n_rows)
    out = publish(table, tmp_path / "out")
    assert_same_rows(read_hats(out), table)
    assert_same_rows(read_zarr(out / "catalog.zarr"), table)
    assert_same_rows(read_fits(out / "catalog.fits"), table)
    assert len(open_catalog(out)) == len(Table.read(out / "catalog.fits")) == n_rows
    with xr.open_zarr(out / "catalog.zarr") as dataset:
        assert dataset.sizes["source"] == n_rows


def test_publish__dataset_instead_of_table(tmp_path):
    out = publish(source_schema(["g"]).empty(), tmp_path / "out", formats=["fits"])
    assert open_catalog(out).columns == list(source_schema(["g"]))


def test_publish__fits_for_astropy(published, table):
    read = Table.read(published / "catalog.fits", character_as_bytes=False)
    assert read["source_id"].tolist() == table["source_id"].to_pylist()
    assert read["mosaic"].tolist() == table["mosaic"].to_pylist()
    assert read["is_primary"].dtype == bool and read["pz_mean"].shape == (1500, 3)
    units = {name: str(read[name].unit) for name in ("ra", "x", "flux_g", "flux_radius")}
    assert units == {"ra": "deg", "x": "pix", "flux_g": "nJy", "flux_radius": "arcsec"}
    header = fits.getheader(published / "catalog.fits", 1)
    assert header["TUCD2"] == "pos.eq.ra;meta.main" and header["TCOMM2"] == "right ascension, ICRS"


def test_publish__zarr_for_xarray(published, table):
    with xr.open_zarr(published / "catalog.zarr") as dataset:
        assert dataset["flux_g"].attrs["units"] == "nJy" and dataset["pz_mean"].dims == ("source", "component")
        assert dataset["mosaic"].values.tolist() == table["mosaic"].to_pylist()
        assert dataset.attrs["columns"] == table.column_names and dataset.attrs["name"] == "kids"


def test_publish__hats_for_lsdb(published, table):
    catalog = import_lsdb().open_catalog(published / "hats")
    frame = catalog.compute(progress_bar=False)
    assert frame["source_id"].tolist() == table["source_id"].to_pylist()
    assert frame.index.is_monotonic_increasing and frame.index.name == "_healpix_29"
    np.testing.assert_array_equal(np.stack(frame["pz_mean"].to_numpy()), arrow_to_numpy(table["pz_mean"]))
    assert catalog.name == "kids" and len(catalog) == 1500
    assert len(catalog.cone_search(352, -31, 600).compute(progress_bar=False)) == len(open_catalog(published).cone(352, -31, 600))


@pytest.fixture(scope="module")
def dense(table_maker, tmp_path_factory):
    """Folder of a catalog of 1200 rows in 3.6 arcmin, many within the margin of a border between partitions."""
    return publish(table_maker(1200, size=0.06), tmp_path_factory.mktemp("dense"), partition_rows=300, formats=["hats"])


@pytest.mark.slow  # lsdb compiles the alignment of two catalogs for 20 s
def test_publish__margin_completes_a_crossmatch(dense):
    """Another catalog has the same positions 3 arcsec to the east: matches over the borders of partitions are found, too."""
    lsdb = import_lsdb()
    ours = open_catalog(dense).select(["source_id", "ra", "dec"]).to_pandas()
    shifted = ours.assign(ra=ours["ra"] + 3 / 3600 / np.cos(np.radians(ours["dec"])))
    other = lsdb.from_dataframe(shifted, margin_threshold=5, catalog_name="other")
    catalog = lsdb.open_catalog(dense / "hats")
    match = other.crossmatch(catalog, radius_arcsec=3.5, n_neighbors=50, suffix_method="all_columns", suffixes=("", "_ours"))
    frame = match.compute(progress_bar=False)
    assert len(catalog.get_healpix_pixels()) > 3
    assert set(frame["source_id"][frame["source_id"] == frame["source_id_ours"]]) == set(ours["source_id"])


def test_publish__no_row_for_lsdb(table_maker, tmp_path):
    out = publish(table_maker(0), tmp_path / "out", formats=["hats"])
    assert len(import_lsdb().open_catalog(out / "hats").compute(progress_bar=False)) == 0


def test_publish__hats_is_valid(published):
    from hats.io.validation import is_valid_catalog

    assert is_valid_catalog(published / "hats", strict=True)


def test_publish__margin_holds_the_rows_around(dense):
    """Of all rows within the margin outside of a partition's pixel, none is missing, and none from inside is there."""
    table = read_hats(dense)
    ids, vectors = table["source_id"].to_numpy(), unit_vectors(table["ra"].to_numpy(), table["dec"].to_numpy())
    n_near = 0
    for partition in hats_partitions(dense / "hats"):
        inside = np.isin(ids, pq.read_table(partition.path, partitioning=None)["source_id"].to_numpy())
        margin = dense / "hats" / MARGIN / partition.path.relative_to(dense / "hats" / "sources")
        held = set(pq.read_table(margin, partitioning=None)["source_id"].to_pylist()) if margin.is_file() else set()
        distance = np.linalg.norm(vectors[~inside][:, None] - vectors[inside][None], axis=2).min(axis=1)
        near = set(ids[~inside][distance <= 2 * np.sin(np.radians(5 / 3600) / 2)].tolist())
        assert near <= held and not held & set(ids[inside].tolist())
        n_near += len(near)
    assert n_near > 30


def test_publish__equal_bytes_every_time(table, published, tmp_path):
    again = publish(table, tmp_path / "again", partition_rows=300, name="kids", provenance={"seed": 0})
    assert contents(again) == contents(published)


def test_publish__provenance_has_rows_and_digests(published):
    record = json.loads((published / "provenance.json").read_text())
    assert record["seed"] == 0 and record["catalog"]["rows"] == 1500 and record["catalog"]["formats"] == ["hats", "zarr", "fits"]
    files = {name: digest for name, digest in contents(published).items() if name != "provenance.json"}
    assert record["catalog"]["files"] == files


def test_publish__coverage(table, tmp_path):
    moc = MOC.from_string("10/0-20 12/1000000")
    out = publish(table, tmp_path / "out", formats=["fits"], coverage=moc)
    assert open_catalog(out).coverage == moc and "coverage.fits" in open_catalog(out).provenance["catalog"]["files"]


def test_publish__replaces_only_what_belongs_to_a_catalog(table, tmp_path):
    out = publish(table, tmp_path / "out")
    (out / "work").mkdir()
    (out / "work" / "tile").write_text("kept")
    (out / "report.html").write_text("of the old catalog")
    publish(table.slice(0, 10), out, formats=["fits"])
    assert sorted(path.name for path in out.iterdir()) == ["catalog.fits", "provenance.json", "work"]
    assert (out / "work" / "tile").read_text() == "kept" and len(open_catalog(out)) == 10


@pytest.mark.parametrize("step", ["building.write_fits_parts", "publish._write_provenance", "building._n_other"])
def test_publish__failure_leaves_the_old_catalog(step, table, tmp_path, monkeypatch):
    out = publish(table.slice(0, 20), tmp_path / "out", formats=["zarr", "fits"])
    before = contents(out)

    def fail(*args):
        raise OSError("no space left on device")

    monkeypatch.setattr(f"surveycnn.catalogs.publishing.{step}", fail)
    with pytest.raises(OSError, match="no space left"):
        publish(table, out, formats=["zarr", "fits"])
    assert contents(out) == before


def test_publish__lost_rows_are_not_published(table, tmp_path, monkeypatch):
    write = building.write_fits_parts
    monkeypatch.setattr(building, "write_fits_parts", lambda paths, first, table: write(paths, first, table.slice(1)))
    with pytest.raises(SurveyCNNError, match="fits of the catalog has other rows when read back, 1 of 1500 are lost: nothing"):
        publish(table, tmp_path / "out", formats=["fits"])
    assert list((tmp_path / "out").iterdir()) == []


def test_open_catalog__completes_an_interrupted_publish(table, tmp_path):
    out = publish(table.slice(0, 5), tmp_path / "out", formats=["fits"])
    new = publish(table, tmp_path / "new", formats=["fits"])
    new.rename(out / swap.READY)
    (out / swap.READY / swap.ENTRIES).write_text(json.dumps({"new": ["catalog.fits", "provenance.json"], "removed": []}))
    assert len(open_catalog(out)) == 1500


def test_open_catalog__published_anew_since(table, tmp_path):
    """Rows of two catalogs never come together, nor a part of one as if it were the whole."""
    out = publish(table.slice(0, 500), tmp_path / "out", formats=["hats"])
    catalog = open_catalog(out)
    publish(table, out, formats=["hats"])
    with pytest.raises(CatalogError, match="has been published anew: open it again"):
        catalog.to_table()
    assert len(open_catalog(out).to_table()) == 1500


@pytest.mark.parametrize("formats", [["hats", "csv"], []])
def test_publish__unknown_format(formats, table, tmp_path):
    with pytest.raises(ConfigError, match=r"formats are \[.*known are \['hats', 'zarr', 'fits'\]"):
        publish(table, tmp_path / "out", formats=formats)
    assert not (tmp_path / "out").exists()


def test_publish__unsorted_rows(table, tmp_path):
    with pytest.raises(SchemaError, match="rows are not sorted"):
        publish(table.take(np.arange(1500)[::-1]), tmp_path / "out")


def test_publish__repeated_source_id(table, tmp_path):
    with pytest.raises(SchemaError, match="source_id is not unique"):
        publish(pa.concat_tables([table.slice(0, 1), table]), tmp_path / "out")


def test_publish__no_position(table, tmp_path):
    with pytest.raises(SchemaError, match=r"columns \['ra'\] are missing"):
        publish(table.drop_columns(["ra"]), tmp_path / "out")


def test_publish__needs_no_dask_scheduler(table, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise AssertionError("a Dask graph was computed")

    for name in ("dask.base.compute", "dask.local.get_async", "dask.threaded.get"):
        monkeypatch.setattr(name, fail)
    publish(table, tmp_path / "out")


def test_readers__no_warning(published):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Table.read(published / "catalog.fits")
        xr.open_zarr(published / "catalog.zarr").load().close()


def test_publish__the_largest_ids_are_in_the_index(table, tmp_path):
    ids = np.concatenate([[-(2**63)], np.arange(1498), [2**63 - 1]])
    table = table.set_column(0, table.schema.field("source_id"), pa.array(ids))
    catalog = open_catalog(publish(table, tmp_path / "out", formats=["hats"], partition_rows=300))
    assert catalog.ids([2**63 - 1, -(2**63), 7])["source_id"].tolist() == [-(2**63), 7, 2**63 - 1]


def test_publish__index_that_lacks_an_id(table, tmp_path, monkeypatch):
    monkeypatch.setattr(WriteIndex, "__call__", lambda self, unit, write=WriteIndex.__call__: write(self, unit) - 1)
    with pytest.raises(SurveyCNNError, match="the index of ids of the catalog has 1499 rows when read back, expected 1500"):
        publish(table, tmp_path / "out", formats=["hats"])


@pytest.mark.parametrize(("column", "value"), [("ra", np.nan), ("dec", 99.0)])
def test_publish__rows_without_a_position(column, value, table, tmp_path):
    values = table[column].to_numpy().copy()
    values[3] = value
    place = table.column_names.index(column)
    with pytest.raises(SchemaError, match="1 rows have no position"):
        publish(table.set_column(place, table.schema.field(column), pa.array(values)), tmp_path / "out")
