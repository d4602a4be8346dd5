import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xarray as xr
from astropy.io.votable import parse
from astropy.table import Table

from surveycnn.catalogs.formats import export
from surveycnn.catalogs.formats.votable import votable_metadata
from surveycnn.catalogs.query import open_catalog
from surveycnn.errors import CatalogError


@pytest.fixture(scope="module")
def some(published):
    return open_catalog(published).where("flags < 4")


def check_table(read, some):
    """The table that was read has the values of the selection; what astropy masks are NaN and empty text."""
    expected = some.to_table()
    assert read.colnames == expected.colnames
    for name in expected.colnames:
        fill = np.nan if expected[name].dtype.kind == "f" else None
        values = np.asarray(read[name].filled(fill) if hasattr(read[name], "filled") else read[name])
        values = values.astype(str) if expected[name].dtype.kind == "U" else values
        np.testing.assert_array_equal(values, np.asarray(expected[name]))


def test_write__fits(some, tmp_path):
    read = Table.read(some.write(tmp_path / "a.fits"))
    check_table(read, some)
    assert str(read["flux_g"].unit) == "nJy"


def test_write__ecsv(some, tmp_path):
    read = Table.read(some.write(tmp_path / "a.ecsv"))
    check_table(read, some)
    assert str(read["flux_g"].unit) == "nJy" and read["ra"].description == "right ascension, ICRS" and read["ra"].meta["ucd"]


def test_write__votable(some, tmp_path):
    read = Table.read(some.write(tmp_path / "a.vot"))
    check_table(read, some)
    assert str(read["flux_g"].unit) == "nJy" and read["ra"].meta["ucd"] == "pos.eq.ra;meta.main"


def test_write__csv_has_a_column_per_component(some, tmp_path):
    read = Table.read(some.write(tmp_path / "a.csv"))
    assert read["source_id"].tolist() == some["source_id"].tolist()
    np.testing.assert_array_equal(read["pz_weight_2"].astype("f4"), some["pz_weight"][:, 2])


def test_write__parquet_and_zarr(some, tmp_path):
    schema = pq.read_table(some.write(tmp_path / "a.parquet")).schema
    assert schema.remove_metadata().equals(some.schema, check_metadata=True)  # of the fields
    with xr.open_zarr(some.write(tmp_path / "a.zarr")) as dataset:
        assert dataset["source_id"].values.tolist() == some["source_id"].tolist()


@pytest.mark.parametrize("suffix", [".fits", ".parquet", ".csv", ".ecsv", ".vot", ".zarr"])
def test_write__no_rows_and_again(suffix, some, tmp_path):
    path = tmp_path / f"a{suffix}"
    some.write(path)
    some.where("flags > 99").write(path)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    if suffix not in (".zarr", ".parquet"):
        assert len(Table.read(path)) == 0


def test_write__failure_leaves_the_old_file(some, tmp_path, monkeypatch):
    path = some.write(tmp_path / "a.fits")
    before = path.read_bytes()

    def fail(table, path):
        path.write_text("half")
        raise OSError("no space left on device")

    monkeypatch.setitem(export._WRITERS, ".fits", fail)
    with pytest.raises(OSError, match="no space left"):
        some.write(path)
    assert path.read_bytes() == before and [entry.name for entry in tmp_path.iterdir()] == ["a.fits"]


def test_write__wrong_paths(some, tmp_path):
    with pytest.raises(CatalogError, match="the suffix is '.txt', known are .fits, .parquet, .csv, .ecsv, .vot, .zarr"):
        some.write(tmp_path / "a.txt")
    with pytest.raises(CatalogError, match="there is no folder"):
        some.write(tmp_path / "none" / "a.fits")
    (tmp_path / "a.fits").mkdir()
    with pytest.raises(CatalogError, match="something else is there"):
        some.write(tmp_path / "a.fits")


def test_to_qp__quantities_of_the_mixture(some):
    ensemble = some.to_qp()
    known = np.isfinite(some["pz_mean"]).all(axis=1) & np.isfinite(some["pz_sigma"]).all(axis=1)
    assert 0 < ensemble.npdf == known.sum() < len(some)
    assert ensemble.ancil["source_id"].tolist() == some["source_id"][known].tolist()
    mean = (some["pz_weight"] * some["pz_mean"]).sum(axis=1)[known]
    grid = np.linspace(-15, 15, 6001)
    np.testing.assert_allclose((ensemble[0].pdf(grid) * grid).sum() * (grid[1] - grid[0]), mean[0], atol=1e-4)


def test_to_qp__without_redshifts(table, published, monkeypatch):
    with pytest.raises(CatalogError, match="none of the 0 rows has a redshift PDF"):
        open_catalog(published).where("flags > 99").to_qp()
    match = open_catalog(published).select(["source_id", "ra", "dec"]).crossmatch(pa.table({"ra": [1.0], "dec": [1.0]}))
    with pytest.raises(CatalogError, match=r"has no columns \['pz_weight', 'pz_mean', 'pz_sigma'\]"):
        match.to_qp()
    monkeypatch.setitem(__import__("sys").modules, "qp", None)
    with pytest.raises(CatalogError, match=r"pip install 'surveycnn\[qp\]'"):
        open_catalog(published).to_qp()


def test_to_lsdb__lazy_without_selection(published):
    whole = open_catalog(published).select(["source_id", "ra", "dec"]).to_lsdb()
    assert len(whole) == 1500 and list(whole.columns) == ["source_id", "ra", "dec"]


@pytest.mark.slow  # lsdb compiles the partitioning of a frame for 10 s
def test_to_lsdb__from_the_result(some):
    some = some.top(900, by="ra")
    frame = some.to_lsdb().compute(progress_bar=False)
    assert sorted(frame["source_id"]) == sorted(some["source_id"].tolist())


def test_to_lsdb__no_row(some):
    with pytest.raises(CatalogError, match="no row is selected"):
        some.where("flags > 99").top(3, by="ra").to_lsdb()


def test_to_lsdb__lazy_with_selections(some):
    chosen = some.cone(352, -31, 1500).where("pz_weight[0] > 0.3 and mosaic == 'm1'").select(["z_phot", "source_id"])
    lazy = chosen.to_lsdb()
    assert lazy.npartitions < open_catalog(some.path).to_lsdb().npartitions and lazy.margin is not None
    frame = lazy.compute(progress_bar=False)
    assert list(frame) == ["z_phot", "source_id"] and frame["source_id"].tolist() == chosen["source_id"].tolist()
    assert len(some.cone(10, 10, 5).to_lsdb().compute(progress_bar=False)) == 0


def test_votable_metadata__bytes_and_types(some):
    told = votable_metadata(some.schema)
    assert told == votable_metadata(some.schema) and told[b"IVOA.VOTable-Parquet.version"] == b"1.0"
    fields = [
        pa.field("\u03bb \x01", pa.uint64(), metadata={"description": "a < b & \x02", "null_value": "3"}),
        pa.field("b", pa.bool_()),
    ]
    fields += [pa.field("text", pa.string()), pa.field("pair", pa.list_(pa.float64(), 2)), pa.field("day", pa.date32())]
    content = votable_metadata(pa.schema(fields), {"text": 7})[b"IVOA.VOTable-Parquet.content"]
    found = parse(io.BytesIO(content), verify="ignore").get_first_table().fields
    assert [field.name for field in found] == ["\u03bb ?", "b", "text", "pair", "day"]
    assert [field.datatype for field in found] == ["long", "boolean", "unicodeChar", "double", "unicodeChar"]
    assert [field.arraysize for field in found] == [None, None, "7", "2", "64"]
    assert found[0].description == "a < b & ?" and found[0].values.null == 3


def test_write_votable__who_fills_a_column(some, tmp_path):
    groups = parse(some.write(tmp_path / "a.vot")).get_first_table().groups
    filled = {group.name: [entry.ref for entry in group.entries] for group in groups}
    assert filled["merge"] == ["is_primary"] and filled["lens model"] == ["lens_logit", "lens_score", "lens_prob"]


@pytest.mark.parametrize("suffix", [".fits", ".parquet", ".csv", ".ecsv", ".vot", ".zarr"])
def test_write__names_and_units_of_users(suffix, tmp_path):
    told = {"units": "furlongs / fortnight \u00b5", "description": "line\nbreak \x02", "ucd": "none at all"}
    fields = [pa.field("v \u03bb", pa.int64(), metadata=told), pa.field("text", pa.string())]
    assert export.write(pa.table([[1, 2], ["a", ""]], schema=pa.schema(fields)), tmp_path / f"a{suffix}").exists()
