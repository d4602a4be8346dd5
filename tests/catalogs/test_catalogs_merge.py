import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from surveycnn.catalogs.columns import lens_columns, photoz_columns, source_schema
from surveycnn.catalogs.coverage import Footprint
from surveycnn.catalogs.merge import merge_tiles, primary_rows
from surveycnn.catalogs.publish import publish
from surveycnn.catalogs.regions import separation_deg, unit_vectors
from surveycnn.catalogs.tables import arrow_to_numpy, dataset_to_arrow
from surveycnn.errors import SurveyCNNError
from surveycnn.schema import Schema


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


def test_merge_tiles__columns_disagree(tiles, table):
    pq.write_table(table.slice(0, 1).set_column(1, "ra", pa.array([1])), tiles[6])
    with pytest.raises(SurveyCNNError, match=r"c0006.parquet' has unknown columns \[\], columns of another type \['ra'\]"):
        merge_tiles(tiles)
    with pytest.raises(SurveyCNNError, match=r"c0000.parquet' has unknown columns \['flux_r'"):
        merge_tiles(tiles[:1], schema=source_schema(["g"]))


# -- primary rows ----------------------------------------------------------------------------------------------------------


def footprint(mosaic, ra, size=1000, scale=1.0):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [ra, 0.0], [size / 2 + 0.5, size / 2 + 0.5]
    wcs.wcs.cdelt = [-scale / 3600, scale / 3600]
    return Footprint(mosaic, wcs, size, size)


A, B = footprint("a", 10.0), footprint("b", 10.0 + 600 / 3600)


def detections(footprint, ra, dec, first_id):
    """Columns of the positions that lie in a footprint."""
    x, y = footprint.wcs.all_world2pix(ra, dec, 0)
    inside = footprint.depth_arcsec(y, x) > 0
    number = inside.sum()
    columns = {"ra": ra, "dec": dec, "x": x, "y": y}
    columns = {name: values[inside] for name, values in columns.items()}
    return columns | {"source_id": first_id + np.arange(number), "mosaic": np.full(number, footprint.mosaic, dtype=object)}


def together(*parts):
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6), st.floats(0, 0.1))
def test_primary_rows__each_object_once(seed, scatter_arcsec):
    """Positions scatter, far less than the match radius, also where both mosaics are equally deep: none is lost or doubled."""
    rng = np.random.default_rng(seed)
    grid = np.arange(-750, 750, 60.0)
    ra, dec = (10 + 300 / 3600 + grid / 3600), np.arange(-450, 450, 60.0) / 3600
    ra, dec = (values.ravel() for values in np.meshgrid(ra, dec))
    parts = [
        detections(
            mosaic, ra + rng.normal(0, scatter_arcsec, len(ra)) / 3600, dec + rng.normal(0, scatter_arcsec, len(ra)) / 3600, start
        )
        for mosaic, start in ((A, 0), (B, 10**6))
    ]
    columns = together(*parts)
    primary = primary_rows(columns, [A, B])
    own, true = unit_vectors(columns["ra"][primary], columns["dec"][primary]), unit_vectors(ra, dec)
    n_matches = (separation_deg(true[:, None], own[None]) * 3600 < 5).sum(axis=1)
    inside = np.any([m.depth_arcsec(*m.wcs.all_world2pix(ra, dec, 0)[::-1]) > 5 for m in (A, B)], axis=0)
    assert inside.sum() > 100 and np.all(n_matches[inside] == 1)
    shuffled = rng.permutation(len(primary))
    assert np.array_equal(primary_rows({name: values[shuffled] for name, values in columns.items()}, [A, B]), primary[shuffled])


def test_primary_rows__deepest_mosaic_owns():
    ra, dec = np.array([10 + 150 / 3600, 10 + 450 / 3600]), np.zeros(2)
    columns = together(detections(A, ra, dec, 0), detections(B, ra, dec, 100))
    assert columns["source_id"][primary_rows(columns, [A, B])].tolist() == [0, 101]


def test_primary_rows__stays_without_a_partner():
    """The owner of the place has not detected it."""
    columns = detections(B, np.array([10 + 150 / 3600]), np.zeros(1), 100)
    columns = together(columns, detections(A, np.array([10.0]), np.zeros(1), 0))
    assert primary_rows(columns, [A, B]).all()


def test_primary_rows__tie_goes_to_the_first_mosaic():
    same = footprint("b", 10.0)
    columns = together(detections(same, np.array([10.0]), np.zeros(1), 0), detections(A, np.array([10.0]), np.zeros(1), 9))
    assert primary_rows(columns, [same, A]).tolist() == [False, True]


def test_primary_rows__neighbours_of_one_mosaic_stay():
    columns = detections(A, np.array([10.0, 10.0 + 0.5 / 3600]), np.zeros(2), 0)
    other = detections(B, np.array([10.05]), np.zeros(1), 9)
    assert primary_rows(together(columns, other), [A, B]).all()


def test_merge_tiles__marks_primary_rows(tmp_path):
    schema = source_schema(["g"])
    for mosaic, start in ((A, 0), (B, 100)):
        columns = detections(mosaic, np.array([10 + 150 / 3600, 10 + 450 / 3600]), np.zeros(2), start)
        values = {name: variable.empty(2) for name, variable in schema.items()} | columns
        pq.write_table(dataset_to_arrow(schema.dataset(values)), tmp_path / f"{mosaic.mosaic}.parquet")
    merged = merge_tiles(sorted(tmp_path.iterdir()), [A, B], schema)
    assert {
        number: flag for number, flag in zip(merged["source_id"].to_pylist(), merged["is_primary"].to_pylist(), strict=True)
    } == {
        0: True,
        1: False,
        100: False,
        101: True,
    }
    single = merge_tiles([tmp_path / "a.parquet"], [A], schema)
    assert single["is_primary"].to_pylist() == [True, True]


def test_primary_rows__unknown_mosaic():
    columns = together(detections(A, np.array([10.05]), np.zeros(1), 0), detections(B, np.array([10.05]), np.zeros(1), 9))
    with pytest.raises(SurveyCNNError, match=r"mosaic 'b', which is not among the footprints \['a'\]"):
        primary_rows(columns, [A])
