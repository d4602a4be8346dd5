"""Cross-matches against brute force in extended precision, over skies made by hypothesis and catalogs in small blocks."""

from pathlib import Path

import astropy.units as u
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import Column, MaskedColumn, Table
from hypothesis import given, settings
from hypothesis import strategies as st
from mocpy import MOC
from sky_judges import around, skies, vincenty_deg

from surveycnn.catalogs import crossmatch as crossmatch_module
from surveycnn.catalogs.healpix import healpix_index
from surveycnn.catalogs.nearest import Neighbours
from surveycnn.catalogs.publishing.publish import publish
from surveycnn.catalogs.query import Catalog, open_catalog
from surveycnn.catalogs.selection.moc_region import MocRegion, coverage_name
from surveycnn.catalogs.source import TableSource
from surveycnn.errors import CatalogError, InputError, UserError
from surveycnn.sky.sphere import unit_vectors
from surveycnn.tables.files import write_table

CLEAR_ARCSEC = 1e-8
"""Separations that differ by less are the same here."""


@st.composite
def two_skies(draw):
    """Positions, and others: some of them moved, some the same again, some elsewhere."""
    sky = draw(skies())
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    some = rng.integers(0, len(sky.ra), 60)
    moved = [
        around(sky.ra[i], sky.dec[i], np.array([sky.size * rng.random() ** 3]), np.array([rng.uniform(0, 360)])) for i in some
    ]
    ra, dec = (np.concatenate([[one[axis][0] for one in moved], (sky.ra, sky.dec)[axis][some[:30]]]) for axis in (0, 1))
    return sky, ra, dec


@settings(deadline=None, max_examples=40)
@given(two_skies(), st.floats(0.01, 3), st.integers(1, 4))
def test_neighbours__same_as_brute_force(sky_and_others, fraction, n_neighbors):
    sky, ra, dec = sky_and_others
    radius = min(fraction * sky.size * 3600, 3600.0)
    separation = 3600 * vincenty_deg(sky.ra[:, None], sky.dec[:, None], ra, dec)
    pairs = Neighbours(unit_vectors(ra, dec)).within(unit_vectors(sky.ra, sky.dec), radius, n_neighbors)
    assert np.all(np.diff(pairs.ours) >= 0)
    np.testing.assert_allclose(pairs.separation_arcsec, separation[pairs.ours, pairs.theirs].astype(float), atol=CLEAR_ARCSEC)
    for row in range(len(sky.ra)):
        found, mine = pairs.theirs[pairs.ours == row], separation[row]
        order = np.argsort(mine, kind="stable")
        inside = order[mine[order] <= radius - CLEAR_ARCSEC][:n_neighbors]
        assert len(np.unique(found)) == len(found) >= len(inside) and np.all(mine[found] <= radius + CLEAR_ARCSEC)
        np.testing.assert_allclose(mine[found[: len(inside)]].astype(float), mine[inside].astype(float), atol=CLEAR_ARCSEC)


def test_neighbours__of_the_same_position_the_first_rows():
    ra, dec = np.array([10.0, 20, 10, 20, 10, 10]), np.zeros(6)
    neighbours = Neighbours(unit_vectors(ra, dec))
    asked = unit_vectors(np.array([20.0, 10, 40, np.nan]), np.array([0.0001, 0, 0, 0]))
    assert [rows.tolist() for rows in neighbours.within(asked, 1.0, 1)[:2]] == [[0, 1], [1, 0]]
    pairs = neighbours.within(asked, 1.0, 3)
    assert pairs.ours.tolist() == [0, 0, 1, 1, 1] and pairs.theirs.tolist() == [1, 3, 0, 2, 4]


def test_neighbours__many_at_one_distance():
    """A ring of positions around one: whichever the tree finds first, it is the nearest by measure."""
    ra, dec = around(123, -40, np.full(300, 1 / 3600), np.linspace(0, 360, 300, endpoint=False))
    centre, places = unit_vectors(np.array([123.0]), np.array([-40.0])), unit_vectors(ra, dec)
    separation = 3600 * np.degrees(
        2 * np.arctan2(np.linalg.norm(places - centre, axis=1), np.linalg.norm(places + centre, axis=1))
    )
    pairs = Neighbours(places).within(centre, 2.0, 5)
    assert pairs.theirs.tolist() == np.lexsort([np.arange(300), separation])[:5].tolist()


def test_neighbours__of_nothing():
    nothing = unit_vectors(np.zeros(0), np.zeros(0))
    assert len(Neighbours(nothing).within(unit_vectors(np.zeros(3), np.zeros(3)), 1.0, 1).ours) == 0
    assert len(Neighbours(unit_vectors(np.zeros(3), np.zeros(3))).within(nothing, 1.0, 1).ours) == 0


@settings(deadline=None, max_examples=25)
@given(skies(), st.floats(-4, 0), st.integers(0, 2**32))
def test_moc_around__holds_all_positions_within_the_radius(sky, log_radius, seed):
    radius, rng = 10**log_radius, np.random.default_rng(seed)
    region = MocRegion.around(unit_vectors(np.append(sky.ra, np.nan), np.append(sky.dec, 0)), radius)
    for ra, dec in zip(sky.ra[:20], sky.dec[:20], strict=True):
        near = around(ra, dec, np.append(radius * np.sqrt(rng.random(20)), radius), rng.uniform(0, 360, 21))
        assert region.contains(*near).all()


# -- catalogs --------------------------------------------------------------------------------------------------------------


def ids(table, rows):
    return table["source_id"].to_numpy()[rows].tolist()


@pytest.fixture(scope="module")
def sky_and_other(sky_published, table_maker, tmp_path_factory):
    """A catalog all over the sky, and another with each third row of it moved by up to 2 arcsec, and rows elsewhere."""
    table, folder = sky_published
    rng = np.random.default_rng(4)
    moved = table.take(np.arange(0, len(table), 3))
    far = table_maker(800, seed=2, whole_sky=True)
    ra, dec = (moved[name].to_numpy() for name in ("ra", "dec"))
    places = [
        around(a, d, np.array([s]), np.array([t]))
        for a, d, s, t in zip(ra, dec, 2 / 3600 * rng.random(len(ra)), rng.uniform(0, 360, len(ra)), strict=True)
    ]
    moved = moved.set_column(moved.schema.get_field_index("ra"), moved.schema.field("ra"), pa.array([p[0][0] for p in places]))
    moved = moved.set_column(moved.schema.get_field_index("dec"), moved.schema.field("dec"), pa.array([p[1][0] for p in places]))
    other = pa.concat_tables([moved, far]).set_column(
        0, table.schema.field("source_id"), pa.array(np.arange(len(moved) + len(far)))
    )
    other = other.take(np.argsort(healpix_index(other["ra"].to_numpy(), other["dec"].to_numpy()), kind="stable"))
    return table, folder, other, publish(other, tmp_path_factory.mktemp("other") / "other", partition_rows=200, formats=["hats"])


def brute_force(table, other):
    """Nearest row of the other for each row, and its separation in arcsec; of those within 0.01 degrees in declination."""
    (ra, dec), (other_ra, other_dec) = ([one[name].to_numpy() for name in ("ra", "dec")] for one in (table, other))
    a, b = np.nonzero(np.abs(dec[:, None] - other_dec) < 0.01)
    separation = np.full((len(ra), len(other_ra)), np.inf)
    separation[a, b] = 3600 * vincenty_deg(ra[a], dec[a], other_ra[b], other_dec[b])
    return separation.argmin(axis=1), separation.min(axis=1)


@pytest.mark.parametrize("how", ["inner", "left"])
@pytest.mark.parametrize("as_table", [False, True])
def test_crossmatch__of_two_catalogs_is_brute_force(sky_and_other, how, as_table, monkeypatch):
    """In blocks much smaller than either, over the poles, ra 0 and the borders of partitions."""
    monkeypatch.setattr(crossmatch_module, "BLOCK_ROWS", 700)
    table, folder, other, other_folder = sky_and_other
    nearest, separation = brute_force(table, other)
    expected = separation <= 1.5
    match = open_catalog(folder).crossmatch(other if as_table else other_folder, 1.5, how=how).to_arrow()
    rows = np.flatnonzero(expected) if how == "inner" else np.arange(len(table))
    assert expected.sum() > 500 and match["source_id"].to_pylist() == ids(table, rows)
    found = match["separation"].to_numpy()
    assert np.array_equal(np.isfinite(found), expected[rows])
    np.testing.assert_allclose(found[expected[rows]], separation[expected], atol=1e-6)
    other_id = match["source_id_other"].to_numpy()
    assert other_id[expected[rows]].tolist() == other["source_id"].to_numpy()[nearest[expected]].tolist()
    assert np.all(other_id[~expected[rows]] == np.iinfo("i8").min)


def test_crossmatch__reads_of_the_other_what_lies_around(sky_and_other, monkeypatch):
    table, folder, _, other_folder = sky_and_other
    monkeypatch.setattr(crossmatch_module, "BLOCK_ROWS", 1000)
    read = []
    real = crossmatch_module.Matched._read_others

    def read_others(self, columns, region):
        found = real(self, columns, region)
        read.append((len(found[0]), found[0].column_names))
        return found

    monkeypatch.setattr(crossmatch_module.Matched, "_read_others", read_others)
    match = open_catalog(folder).box(10, 40, -20, 20).crossmatch(other_folder).select(["source_id", "separation"])
    assert repr(match) and match.to_arrow().num_rows > 10
    assert max(n_rows for n_rows, _ in read) < 100 and {tuple(names) for _, names in read} == {("ra", "dec")}


def test_crossmatch__is_selected_from_as_any_catalog(sky_and_other):
    table, folder, _, other_folder = sky_and_other
    match = open_catalog(folder).crossmatch(other_folder, 2)
    everything = match.to_table()
    some = (everything["separation"] < 1) & (everything["dec"] > 0) & (everything["lens_prob_other"] > 0)
    found = match.where("separation < 1 and lens_prob_other > 0").box(0, 360, 0, 90)
    assert len(found) == len(found.to_arrow()) and found["source_id"].tolist() == everything["source_id"][some].tolist()
    assert match.top(2, by="separation")["separation"].tolist() == np.sort(everything["separation"])[::-1][:2].tolist()
    cone = match.cone(0, 90, 36000 * 3)
    assert cone["source_id"].tolist() == everything["source_id"][everything["dec"] >= 60].tolist()
    again = match.select(["source_id", "ra", "dec"]).crossmatch(match.select(["source_id"]), 1)
    assert again["source_id"].tolist() == again["source_id_other"].tolist() == everything["source_id"].tolist()


@pytest.fixture(scope="module")
def shifted(table):
    """Every third row of the catalog, backwards, half an arcsec to the north, and one far away."""
    rows = table.take(np.arange(0, 1500, 3)[::-1])
    dec = np.concatenate([rows["dec"].to_numpy() + 0.5 / 3600, [45.0]])
    names = np.concatenate([rows["source_id"].to_numpy(), [-1]])
    return pd.DataFrame({"name": names, "ra": np.append(rows["ra"].to_numpy(), 10.0), "dec": dec})


def check_match(match, table, suffix="_other"):
    assert match["source_id"].tolist() == ids(table, np.arange(0, 1500, 3))
    assert match[f"name{suffix}"].tolist() == match["source_id"].tolist()
    np.testing.assert_allclose(match["separation"], 0.5, atol=1e-6)


@pytest.fixture(scope="module", params=["zarr", "fits"])
def catalog(request, table, tmp_path_factory):
    """The catalog read from each format."""
    return open_catalog(
        publish(table, tmp_path_factory.mktemp(request.param) / "kids", formats=[request.param], partition_rows=300)
    )


def test_crossmatch__nearest_rows_in_the_order_of_the_catalog(catalog, table, shifted):
    match = catalog.crossmatch(shifted, radius_arcsec=1)
    check_match(match, table)
    assert match.columns == [*catalog.columns, "name_other", "ra_other", "dec_other", "separation"]
    assert len(catalog.crossmatch(shifted, radius_arcsec=0.4)) == 0


def test_crossmatch__after_selections(published, shifted, table):
    best = open_catalog(published).top(100, by="lens_prob")
    third = set(ids(table, np.arange(0, 1500, 3)))
    assert best.crossmatch(shifted)["source_id"].tolist() == [number for number in best["source_id"].tolist() if number in third]
    assert open_catalog(published).select(["source_id"]).crossmatch(shifted).columns[0] == "source_id"
    # the best of a catalog as the other one
    few = open_catalog(published).crossmatch(best.select(["source_id"]))
    assert few["source_id"].tolist() == few["source_id_other"].tolist() and len(few) == 100
    assert few.columns == [*best.columns, "source_id_other", "separation"]


def test_crossmatch__several_neighbours(published, table):
    ra, dec = table["ra"].to_numpy()[10], table["dec"].to_numpy()[10]
    other = pd.DataFrame({"n": [2, 0, 1, 3], "ra": ra, "dec": dec + np.array([0.2, 0.0, 0.1, 0.3]) / 3600})
    near = open_catalog(published).cone(ra, dec, 0.05)
    found = near.crossmatch(other, n_neighbors=3)
    assert found["n_other"].tolist() == [0, 1, 2] and found["source_id"].tolist() == ids(table, [10, 10, 10])
    assert near.crossmatch(other, n_neighbors=100, how="left")["n_other"].tolist() == [0, 1, 2, 3]
    assert len(open_catalog(published).crossmatch(other, n_neighbors=2, how="left")) == 1501


def test_crossmatch__takes_tables_files_and_catalogs(published, shifted, table, tmp_path):
    catalog = open_catalog(published)
    arrow = pa.Table.from_pandas(shifted, preserve_index=False)
    for suffix in (".fits", ".parquet", ".csv", ".ecsv", ".hdf5"):
        write_table(arrow, tmp_path / f"other{suffix}")
    Table.from_pandas(shifted).write(tmp_path / "other.vot", format="votable")
    sky = SkyCoord(shifted["ra"], shifted["dec"], unit="deg").galactic
    for other in (Table.from_pandas(shifted), arrow, *sorted(tmp_path.iterdir()), str(tmp_path / "other.fits")):
        check_match(catalog.crossmatch(other, suffix="_b"), table, "_b")
    assert len(catalog.crossmatch(sky)) == 500
    for other in (published, str(published), catalog):
        match = catalog.crossmatch(other)
        assert match["source_id"].tolist() == match["source_id_other"].tolist() == table["source_id"].to_pylist()


def test_crossmatch__takes_hats_catalogs_of_others(published, shifted, table, tmp_path):
    """Positions under other names, a file for each pixel of order 0."""
    index = healpix_index(shifted["ra"], shifted["dec"]) >> 58
    for pixel in np.unique(index):
        path = tmp_path / "dataset" / "Norder=0" / "Dir=0" / f"Npix={pixel}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pandas(shifted[index == pixel].rename(columns={"ra": "lon", "dec": "lat"})), path)
    (tmp_path / "hats.properties").write_text("hats_col_ra=lon\nhats_col_dec=lat\n")
    for other in (tmp_path, open_catalog(tmp_path), open_catalog(tmp_path).where("name > 0")):
        check_match(open_catalog(published).crossmatch(other), table)


def test_crossmatch__keeps_what_columns_mean(published, shifted):
    other = Table(
        {
            "ALPHA_J2000": Column(np.radians(shifted["ra"]), unit="rad", description="where it is"),
            "DELTA_J2000": Column(np.radians(shifted["dec"]), unit="rad", meta={"ucd": "pos.eq.dec;meta.main"}),
            "Jmag": Column(np.arange(len(shifted), dtype="f4"), unit="mag", description="J", meta={"ucd": "phot.mag;em.IR.J"}),
        }
    )
    match = open_catalog(published).crossmatch(other, suffix="_2mass").to_table()
    assert len(match) == 500 and str(match["Jmag_2mass"].unit) == "mag" and match["Jmag_2mass"].description == "J"
    assert match["Jmag_2mass"].meta["ucd"] == "phot.mag;em.IR.J" and match["ra"].meta["ucd"] == "pos.eq.ra;meta.main"
    assert match["DELTA_J2000_2mass"].meta["ucd"] == "pos.eq.dec"  # one position is the main one
    assert str(match["flux_g"].unit) == "nJy" and str(match["separation"].unit) == "arcsec"
    assert match["separation"].meta["ucd"] == "pos.angDistance"


def test_crossmatch__left_join_has_no_value_where_there_is_none(published, table, tmp_path):
    """Of every type of column; each format of files has them back."""
    rows, at = table.slice(5, 1), {"ra": table["ra"].to_numpy()[5:6], "dec": table["dec"].to_numpy()[5:6]}
    other = Table(
        {**at, "n": np.array([7], "i4"), "u": np.array([7], "u1"), "ok": [True], "name": ["a"], "pdf": np.ones((1, 3), "f4")}
    )
    match = open_catalog(published).select(["source_id", "ra"]).crossmatch(other, how="left")
    found = match.to_table()
    assert len(found) == 1500 and not match.to_arrow().column("n_other").null_count
    has = found["source_id"] == ids(rows, [0])[0]
    assert has.sum() == 1 and np.array_equal(np.isfinite(found["separation"]), has)
    for name in ("n_other", "u_other"):
        assert np.array_equal(found[name].mask, ~has) and found[name][has].tolist() == [7]
    assert np.isfinite(found["pdf_other"]).sum() == 3 and np.array_equal(found["name_other"] == "a", has)
    assert np.array_equal(found["ok_other"], has)
    for suffix in (".fits", ".vot", ".parquet", ".ecsv", ".zarr"):
        match.write(tmp_path / f"match{suffix}")
    assert Table.read(tmp_path / "match.fits")["n_other"].mask.sum() == 1499


def test_crossmatch__missing_values_of_a_table(published, shifted, table):
    other = Table({"ra": shifted["ra"], "dec": shifted["dec"]})
    missing = np.arange(len(shifted)) % 2 == 0
    for name, values in (
        ("n", np.arange(len(shifted))),
        ("x", np.ones(len(shifted))),
        ("ok", missing),
        ("name", shifted["name"].astype(str)),
    ):
        other[name] = MaskedColumn(np.asarray(values), mask=missing)
    match = open_catalog(published).crossmatch(other).to_table()
    assert len(match) == 500 and match["n_other"].mask.sum() == match["ok_other"].mask.sum() == 250
    assert np.isnan(match["x_other"]).sum() == 250 and (match["name_other"] == "").sum() == 250
    far = pd.DataFrame({"name": [-2, -3, -4], "ra": [100.0, np.nan, 280.0], "dec": [80.0, 0.0, -80.0]})
    check_match(open_catalog(published).crossmatch(pd.concat([far, shifted])), table)
    assert len(open_catalog(published).crossmatch(far)) == len(open_catalog(published).crossmatch(far.iloc[:0])) == 0


def test_counterparts_of__rows_in_the_searched_sky(published, table, shifted, tmp_path):
    catalog = open_catalog(published)
    with pytest.raises(CatalogError, match="has no coverage.fits"):
        catalog.counterparts_of(shifted)
    out = publish(
        table,
        tmp_path / "kids",
        formats=["hats"],
        coverage=MOC.from_lonlat(table["ra"].to_numpy()[500:] * u.deg, table["dec"].to_numpy()[500:] * u.deg, max_norder=8),
    )
    catalog = open_catalog(out)
    searched = MocRegion.of(catalog.coverage).contains(shifted["ra"].to_numpy(), shifted["dec"].to_numpy())
    known = catalog.where("lens_prob > 0").counterparts_of(shifted)
    assert known.columns == ["name_other", "ra_other", "dec_other", *catalog.columns, "separation"]
    assert known["name_other"].tolist() == shifted["name"][searched].tolist() and 0 < searched.sum() < 501
    prob = dict(zip(table["source_id"].to_pylist(), table["lens_prob"].to_pylist(), strict=True))
    expected = np.array([prob[name] > 0 for name in shifted["name"][searched]])
    found = known.to_table()
    assert np.array_equal(np.isfinite(found["separation"]), expected) and np.array_equal(~found["source_id"].mask, expected)
    assert found["source_id"][expected].tolist() == found["name_other"][expected].tolist()
    # what lies around our own position is not what lies around theirs
    assert len(known.cone(352, -31, 60)) == np.count_nonzero(catalog_within(found, 352, -31, 60))
    with pytest.raises(CatalogError, match="no coverage of a model 'lens'"):
        catalog.counterparts_of(shifted, model="lens")
    MOC.new_empty(8).save(out / coverage_name("lens"), format="fits")
    assert len(catalog.counterparts_of(shifted, model="lens")) == 0
    few = catalog.cone(352, -31, 600).counterparts_of(shifted)
    assert len(few) == np.count_nonzero(searched & (3600 * vincenty_deg(shifted["ra"], shifted["dec"], 352, -31) <= 600))


def catalog_within(table, ra, dec, radius):
    return 3600 * vincenty_deg(np.asarray(table["ra"]), np.asarray(table["dec"]), ra, dec) <= radius


HERE = {"ra": [1.0], "dec": [1.0]}


@pytest.mark.parametrize(
    ("other", "options", "message"),
    [
        (
            pd.DataFrame({"x": [1.0]}),
            {},
            "the other table has no columns of positions.*its columns are x: name them with ra= and",
        ),
        (pd.DataFrame(HERE), {"radius_arcsec": 0}, "radius is 0 arcsec, expected above 0 and up to 3600"),
        (pd.DataFrame(HERE), {"radius_arcsec": float("nan")}, "radius is nan arcsec"),
        (pd.DataFrame(HERE), {"how": "outer"}, "how is 'outer', expected one of 'inner', 'left'"),
        (pd.DataFrame(HERE), {"n_neighbors": 0}, "n_neighbors is 0, expected 1 to 100"),
        (pd.DataFrame(HERE), {"n_neighbors": 1.5}, "n_neighbors is 1.5"),
        (pd.DataFrame(HERE), {"suffix": ""}, r"columns \['dec', 'ra'\] are there already"),
        (pd.DataFrame(HERE), {"ra": "rra", "dec": "dec"}, "has no column 'rra'"),
        (pd.DataFrame(HERE), {"ra": "ra"}, "one of ra and dec is named and not the other"),
        (pd.DataFrame({"ra": [1.0], "dec": [-99.0]}), {}, "1 of 1 rows have no position on the sky"),
        (pd.DataFrame({"ra": ["12:00:01.5"], "dec": ["-3:04:05"]}), {}, "column 'ra' is text .*SkyCoord.*hourangle"),
        (pd.DataFrame([[1.0, 1.0, 2.0]], columns=["ra", "dec", "dec"]), {}, "more than one column 'dec'|cannot be used"),
        (pd.DataFrame({**HERE, "odd": [object()]}), {}, "DataFrame to match with has a column that cannot be used"),
        (3, {}, "int is not understood: give a catalog"),
        ("/none.fits", {}, "there is no table '/none.fits'"),
        ("/none.xyz", {}, "cannot read '/none.xyz' as a table: the suffix is '.xyz'"),
    ],
)
def test_crossmatch__wrong_arguments(other, options, message, published):
    with pytest.raises(UserError, match=message) as error:
        open_catalog(published).crossmatch(other, **options)
    assert isinstance(error.value, CatalogError | InputError)


def test_crossmatch__folder_that_is_no_catalog(published, tmp_path):
    with pytest.raises(CatalogError, match="holds no catalog"):
        open_catalog(published).crossmatch(tmp_path)


def test_crossmatch__catalog_without_positions(published, shifted):
    ids_alone = open_catalog(published).crossmatch(shifted).select(["source_id"]).top(3, by="source_id")
    assert len(ids_alone.crossmatch(shifted)) == 3  # columns that are not selected are there


def test_crossmatch__lenscat():
    """Its columns are called RA [deg] and DEC [deg]."""
    path = Path(__file__).resolve().parents[3] / "shared" / "data" / "lenscat" / "catalog.csv"
    if not path.is_file():
        pytest.skip(f"there is no {path}: lenscat is not part of the repository")
    lenses = pd.read_csv(path).iloc[:50]
    rows = pa.table({"source_id": np.arange(50), "ra": lenses["RA [deg]"], "dec": lenses["DEC [deg]"] + 0.5 / 3600})
    match = Catalog(TableSource(rows), "lenses").crossmatch(path)
    assert match["name_other"].tolist() == lenses["name"].tolist() and match["separation"] == pytest.approx(0.5, abs=1e-6)
