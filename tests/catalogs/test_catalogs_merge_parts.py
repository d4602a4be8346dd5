"""The sky merged in parts is the sky merged at once, wherever objects, mosaics and chains of them lie across the parts."""

import itertools
import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from overlapping_survey import SCHEMA, SIZE_PX, files_of, mosaic, write_survey

from surveycnn.catalogs.coverage import Footprint
from surveycnn.catalogs.healpix import CELL_ORDER, CELL_SHIFT, Zone, healpix_index, partition
from surveycnn.catalogs.publishing import primary
from surveycnn.catalogs.publishing.merge import NeedsMore, TileRows, merge_tiles
from surveycnn.catalogs.publishing.primary import NEIGHBOURHOOD_ARCSEC, primary_rows, primary_rows_of_part
from surveycnn.catalogs.publishing.publish import publish, publish_rows
from surveycnn.catalogs.tables import arrow_to_numpy, dataset_to_arrow
from surveycnn.schema import Variable
from surveycnn.sky.sphere import unit_vectors
from surveycnn.sources.identity import PIXEL_BITS


def in_pieces(rows, limit):
    """The rows of all parts, one after another."""
    parts = []
    for order, pixel in partition(*rows.cells, limit):
        for n_rings in (2, 4, 8, 16):
            try:
                parts.append(rows.part(order, pixel, n_rings).read())
                break
            except NeedsMore:
                continue
    return pa.concat_tables(parts)


def same_rows(table, expected):
    """Whether two tables have the same columns and values; NaN equals NaN."""
    return table.schema.equals(expected.schema, check_metadata=True) and all(
        np.array_equal(
            arrow_to_numpy(table[one.name]), arrow_to_numpy(expected[one.name]), equal_nan=pa.types.is_floating(one.type)
        )
        for one in expected.schema
    )


@pytest.mark.parametrize(("ra", "dec"), [(10.0, 0.0), (359.9, -35.0), (80.0, 89.6), (45.0, 41.8)])
def test_parts__give_the_rows_of_the_whole(tmp_path, ra, dec):
    paths, footprints, schema = write_survey(tmp_path, ra, dec, seed=3)
    whole = merge_tiles(paths, footprints, schema)
    rows = TileRows(paths[::-1], footprints, schema)
    n_parts = sum(rows.part(order, pixel).n_rows > 0 for order, pixel in partition(*rows.cells, 100))
    assert n_parts > 12 and 0.3 < np.mean(whole["is_primary"].to_numpy(zero_copy_only=False)) < 0.9
    assert same_rows(in_pieces(rows, 100), whole)


def test_parts__of_objects_of_a_users_table(tmp_path):
    """Rows of one row of the table are one object wherever their centroids are."""
    paths, footprints, schema = write_survey(tmp_path, 10.0, 0.0, seed=4, extra=[Variable("input_id", "i8", "id")])
    whole = merge_tiles(paths, footprints, schema)
    assert same_rows(in_pieces(TileRows(paths, footprints, schema), 100), whole)
    objects = whole["source_id"].to_numpy() & ((1 << PIXEL_BITS) - 1)
    assert whole.filter(whole["is_primary"]).num_rows == len(np.unique(objects))


def test_part__of_a_chain_that_leaves_the_rings(tmp_path):
    """Objects an arcsecond apart, for a third of a degree: whether one is primary depends on those at the end of the chain."""
    footprints = [mosaic(0, 10.0, 0.0), mosaic(0, 10.0, 0.0)]
    footprints[1] = Footprint("n", footprints[0].wcs, SIZE_PX, SIZE_PX)
    paths = []
    for number, place in enumerate(footprints):
        n_rows = 800
        values = {name: variable.empty(n_rows) for name, variable in SCHEMA.items()}
        values["ra"], values["dec"] = 9.9 + (2 * np.arange(n_rows) + number) * 0.8 / 3600, np.zeros(n_rows)
        values["x"], values["y"] = place.wcs.all_world2pix(values["ra"], values["dec"], 0)
        values |= {"mosaic": np.full(n_rows, place.mosaic, dtype=object), "flux_radius": np.full(n_rows, 0.1, "f4")}
        values["source_id"] = (np.int64(number) << PIXEL_BITS) + np.arange(n_rows)
        paths.append(tmp_path / f"{place.mosaic}.parquet")
        pq.write_table(dataset_to_arrow(SCHEMA.dataset(values)), paths[-1])
    rows = TileRows(paths, footprints, SCHEMA)
    pixels = [pixel for pixel in partition(*rows.cells, 100) if rows.part(*pixel).n_rows]
    with pytest.raises(NeedsMore):
        rows.part(*pixels[0], 2).read()
    assert same_rows(in_pieces(rows, 100), merge_tiles(paths, footprints, SCHEMA))
    out = publish_rows(rows, tmp_path / "out", formats=["fits"], partition_rows=100)
    assert (out.path / "catalog.fits").read_bytes() == (
        publish(merge_tiles(paths, footprints, SCHEMA), tmp_path / "at_once", formats=["fits"]) / "catalog.fits"
    ).read_bytes()


def test_publish_rows__whoever_makes_the_calls_in_whatever_order(tmp_path):
    """Threads in a shuffled order give the bytes of one call after another, and of the table in memory."""
    paths, footprints, schema = write_survey(tmp_path, 10.0, 0.0, seed=5)

    def shuffled(function, units):
        units = list(units)
        order = random.Random(1).sample(range(len(units)), len(units))
        with ThreadPoolExecutor(4) as pool:
            found = dict(zip(order, pool.map(function, [units[number] for number in order]), strict=True))
        return [found[number] for number in range(len(units))]

    results = []
    for name, spread in (("serial", {}), ("shuffled", {"spread": shuffled})):
        rows = TileRows(paths, footprints, schema, **spread)
        published = publish_rows(rows, tmp_path / name, partition_rows=200, name="a", **spread)
        assert published.n_rows == rows.n_rows
        results.append(files_of(published.path))
    table = merge_tiles(paths, footprints, schema)
    assert published.n_primary == table.filter(table["is_primary"]).num_rows
    results.append(files_of(publish(table, tmp_path / "table", partition_rows=200, name="a")))
    assert results[0] == results[1] == results[2]


@given(st.integers(0, 12 * 4**CELL_ORDER - 1), st.floats(0, 360), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_zone__holds_what_is_near(cell, bearing, u, v, nearness):
    """Whatever is within the neighbourhood of a position in the pixel is in the pixel or its first ring."""
    from cdshealpix import healpix_to_lonlat

    lon, lat = (
        float(angle[0].deg) for angle in healpix_to_lonlat([cell], CELL_ORDER, dx=0.001 + u * 0.998, dy=0.001 + v * 0.998)
    )
    assert healpix_index([lon], [lat])[0] >> CELL_SHIFT == cell
    here = unit_vectors(lon, lat)
    east = np.cross([0, 0, 1], here) if abs(lat) < 89.999 else np.array([1.0, 0, 0])
    east = east - here * (here @ east)
    east /= np.linalg.norm(east)
    step = np.radians(nearness * NEIGHBOURHOOD_ARCSEC / 3600)
    side = np.cos(np.radians(bearing)) * east + np.sin(np.radians(bearing)) * np.cross(here, east)
    x, y, z = np.cos(step) * here + np.sin(step) * side
    index = healpix_index([np.degrees(np.arctan2(y, x)) % 360], [np.degrees(np.arctan2(z, np.hypot(x, y)))])
    for order in (CELL_ORDER, 7, 2):
        zone = Zone(order, cell >> 2 * (CELL_ORDER - order), 2)
        assert zone.within(index, 1).all() and zone.within(index, 2).all()


def test_zone__rings_follow_one_another():
    zone = Zone(6, 12345, 3)
    first, second, third = (set(zone.cells(n).tolist()) for n in (1, 2, 3))
    assert len(first) == 4 * 16 + 4 and first < second < third
    inside = range(12345 << 8, 12346 << 8)
    assert not third & set(inside)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_primary_rows_of_part__is_a_part_of_the_whole(seed):
    """A part in which all neighbours of its middle are at hand gives what all rows give, or asks for more."""
    rng = np.random.default_rng(seed)
    n_rows = 300
    places = [Footprint(name, mosaic(0, 10.0, 0.0).wcs, SIZE_PX, SIZE_PX) for name in "ab"]
    ra, dec = 10 + rng.uniform(-0.05, 0.05, n_rows), rng.uniform(-0.01, 0.01, n_rows)
    x, y = places[0].wcs.all_world2pix(ra, dec, 0)
    columns = {"source_id": np.arange(n_rows), "ra": ra, "dec": dec, "x": x, "y": y}
    columns |= {"mosaic": rng.choice(np.array(["a", "b"], dtype=object), n_rows)}
    columns |= {"flags": rng.choice([0, 0, 8], n_rows), "flux_radius": rng.lognormal(0.5, 1, n_rows)}
    whole = primary_rows(columns, places)
    for reach, width in itertools.product((0.01, 0.03), (0.005, 0.02)):
        wanted, settled, near = (np.abs(ra - 10) <= size for size in (width, width + reach, width + reach + 2 / 60))
        found = primary_rows_of_part(
            {name: column[near] for name, column in columns.items()}, places, wanted[near], settled[near]
        )
        assert found is None or (found[wanted[near]] == whole[wanted]).all()
    everything = np.ones(n_rows, bool)
    np.testing.assert_array_equal(primary_rows_of_part(columns, places, everything, everything), whole)
    assert primary.NEIGHBOURHOOD_ARCSEC == 2 * primary.MAX_REACH_ARCSEC
