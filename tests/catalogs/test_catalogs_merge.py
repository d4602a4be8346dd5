import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.wcs import WCS

from surveycnn.catalogs.columns import lens_columns, photoz_columns, source_schema
from surveycnn.catalogs.coverage import Footprint
from surveycnn.catalogs.publishing.merge import TileRows, merge_tiles
from surveycnn.catalogs.publishing.publish import publish
from surveycnn.catalogs.tables import arrow_to_numpy, dataset_to_arrow
from surveycnn.errors import SurveyCNNError
from surveycnn.schema import Schema, Variable
from surveycnn.sources.identity import PIXEL_BITS


@pytest.fixture
def tiles(table, tmp_path):
    """Tile files of the shuffled rows of a table, one of them empty."""
    order = np.random.default_rng(7).permutation(table.num_rows)
    paths = []
    for place, rows in enumerate([*np.array_split(order, 6), []]):
        paths.append(tmp_path / f"r0000_c{place:04d}.parquet")
        tile = table.take(np.asarray(rows, dtype=int)).replace_schema_metadata({"tile": str(place)})
        pq.write_table(tile, paths[-1])
    return paths


def test_merge_tiles__sorted_whatever_the_order_of_the_files(tiles, table):
    merged = merge_tiles(tiles)
    assert merged["source_id"].to_pylist() == table["source_id"].to_pylist() and merged.schema.equals(table.schema)
    sink, again = pa.BufferOutputStream(), pa.BufferOutputStream()
    pq.write_table(merged, sink)
    pq.write_table(merge_tiles(tiles[::-1]), again)
    assert sink.getvalue() == again.getvalue()


def test_merge_tiles__can_be_published(tiles, tmp_path):
    publish(merge_tiles(tiles), tmp_path / "out", formats=["fits"])


def test_merge_tiles__other_bands_and_models(tmp_path):
    """A mosaic without a band or model gets NaN there, in the columns and order of the schema."""
    full = source_schema(["g", "z"]) + Schema([*lens_columns(), *photoz_columns(2)])
    some = source_schema(["g"])
    a, b = full.empty(3), some.empty(2)
    a["source_id"].values[:], b["source_id"].values[:] = [5, 1, 3], [2, 4]
    for dataset in (a, b):
        for name in set(dataset.data_vars) - {"source_id", "mosaic", "is_primary", "flags"}:
            dataset[name].values[:] = 1
    paths = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    for path, dataset in zip(paths, (a, b), strict=True):
        pq.write_table(dataset_to_arrow(dataset), path)
    for schema in (full, None):
        merged = merge_tiles(paths, schema=schema)
        assert merged.column_names == list(full) and merged["source_id"].to_pylist() == [1, 2, 3, 4, 5]
        assert np.isnan(merged["flux_z"].to_numpy()).tolist() == [False, True, False, True, False]
        assert np.isnan(arrow_to_numpy(merged["pz_mean"])).any(axis=1).tolist() == [False, True, False, True, False]
        assert merged.schema.field("flux_z").metadata[b"units"] == b"nJy"


def test_merge_tiles__no_tiles_and_no_rows(tmp_path, table):
    schema = source_schema(["g"])
    assert merge_tiles([], schema=schema).column_names == list(schema)
    pq.write_table(table.slice(0, 0), tmp_path / "a.parquet")
    assert merge_tiles([tmp_path / "a.parquet"]).schema.equals(table.schema)


def test_merge_tiles__source_twice_names_the_tiles(tiles, table):
    pq.write_table(pq.read_table(tiles[2], partitioning=None).slice(0, 4), tiles[6])
    with pytest.raises(
        SurveyCNNError, match=r"4 source_id appear more than once, for instance \d+ in .*c0002.parquet.*c0006.parquet"
    ):
        merge_tiles(tiles)


def test_merge_tiles__tile_that_is_written_meanwhile(tiles, table):
    rows, n_rows = TileRows(tiles), table.num_rows
    pq.write_table(table.slice(0, 3), tiles[6])
    with pytest.raises(SurveyCNNError, match=rf"merged {n_rows + 3} rows, but the 7 tile files hold {n_rows}"):
        rows.everything().read()


def test_merge_tiles__columns_disagree(tiles, table):
    pq.write_table(table.slice(0, 1).set_column(0, "source_id", pa.array([-7])).set_column(1, "ra", pa.array([1])), tiles[6])
    with pytest.raises(SurveyCNNError, match=r"c0006.parquet' has unknown columns \[\], columns of another type \['ra'\]"):
        merge_tiles(tiles)
    with pytest.raises(SurveyCNNError, match=r"c0000.parquet' has unknown columns \['flux_r'"):
        merge_tiles(tiles[:1], schema=source_schema(["g"]))


# -- overlapping mosaics ---------------------------------------------------------------------------------------------------


def footprint(mosaic, ra):
    """A square of 1000 arcsec."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [ra, 0.0], [500.5, 500.5]
    wcs.wcs.cdelt = [-1 / 3600, 1 / 3600]
    return Footprint(mosaic, wcs, 1000, 1000)


@pytest.mark.parametrize("shift_arcsec", [0.0, 3.0])
def test_merge_tiles__marks_primary_rows(tmp_path, shift_arcsec):
    """By position, or where the sources come from a table, by its rows, wherever their centroids are."""
    places = [footprint("a", 10.0), footprint("b", 10 + 600 / 3600)]
    schema = source_schema(["g"])
    if shift_arcsec:
        schema += Schema([Variable("input_id", "i8", "id")])
    for number, place in enumerate(places):
        ra = np.array([10 + 150 / 3600, 10 + 450 / 3600]) + number * shift_arcsec / 3600
        x, y = place.wcs.all_world2pix(ra, np.zeros(2), 0)
        columns = {"source_id": (number << PIXEL_BITS) + np.arange(2), "ra": ra, "dec": np.zeros(2), "x": x, "y": y}
        columns |= {"mosaic": np.full(2, place.mosaic, dtype=object), "is_primary": np.ones(2, bool)}
        values = {name: variable.empty(2) for name, variable in schema.items()} | columns
        pq.write_table(dataset_to_arrow(schema.dataset(values)), tmp_path / f"{place.mosaic}.parquet")
    merged = merge_tiles(sorted(tmp_path.iterdir()), places, schema)
    primary = dict(zip(merged["source_id"].to_pylist(), merged["is_primary"].to_pylist(), strict=True))
    assert primary == {0: True, 1: False, 1 << PIXEL_BITS: False, (1 << PIXEL_BITS) + 1: True}
    single = merge_tiles([tmp_path / "a.parquet"], places[:1], schema)
    assert single["is_primary"].to_pylist() == [True, True]
