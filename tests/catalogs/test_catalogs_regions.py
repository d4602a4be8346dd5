"""Regions against judges that share nothing with them, over skies made by hypothesis; see tests/sky_judges.py."""

import astropy.units as u
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mocpy import MOC
from sky_judges import ANCHORS, Sky, around, in_box, in_polygon, skies, vincenty_deg

from surveycnn.catalogs.healpix import healpix_index
from surveycnn.catalogs.publishing import pieces
from surveycnn.catalogs.publishing.publish import publish
from surveycnn.catalogs.query import open_catalog
from surveycnn.catalogs.selection.moc_region import MocRegion, coverage_name, read_model_coverage
from surveycnn.catalogs.selection.regions import Box, Cone, Polygon, separation_deg
from surveycnn.catalogs.selection.sky_ranges import MAX_RANGES, cell_centres, cell_radius_deg, merged_ranges
from surveycnn.errors import CatalogError
from surveycnn.sky.sphere import unit_vectors

ROUNDING_DEG = 2e-13
"""Positions nearer to a border are left out of comparisons with extended precision."""

FRACTIONS = st.floats(0.1, 3)


def assert_covered(region, sky, inside):
    """The index ranges and declinations of a region have every position that is inside."""
    ranges = region.healpix_ranges()
    assert len(ranges) <= MAX_RANGES and all(start < stop for start, stop in ranges)
    assert all(left[1] < right[0] for left, right in zip(ranges, ranges[1:], strict=False))
    index, (low, high) = healpix_index(sky.ra, sky.dec), region.dec_limits()
    in_ranges = np.any([(start <= index) & (index < stop) for start, stop in ranges] or [np.zeros(len(index), bool)], axis=0)
    assert not np.any(inside & ~(in_ranges & (low <= sky.dec) & (sky.dec <= high)))


@st.composite
def centres(draw, sky):
    """The anchor of a sky, or a place of the sky's size beside it."""
    ra, dec = around(*sky.anchor, np.array([draw(st.just(0.0) | FRACTIONS) * sky.size]), np.array([draw(st.floats(0, 360))]))
    return float(ra[0]), float(np.clip(dec[0], -90, 90))


@settings(deadline=None, max_examples=60)
@given(skies(), st.data())
def test_cone__same_as_vincenty(sky, data):
    ra, dec = data.draw(centres(sky))
    cone = Cone(ra, dec, min(data.draw(st.just(0.0) | FRACTIONS) * sky.size, 180.0))
    distance = vincenty_deg(sky.ra, sky.dec, ra, dec)
    clear = np.abs(distance - cone.radius_deg) > ROUNDING_DEG
    inside = cone.contains(sky.ra, sky.dec)
    assert np.array_equal(inside[clear], (distance <= cone.radius_deg)[clear])
    assert_covered(cone, sky, inside)


@settings(deadline=None, max_examples=60)
@given(skies(), st.data())
def test_box__same_as_fractions(sky, data):
    """Sides go through positions of the sky: edges are inside, to the last bit."""
    sides = st.integers(0, len(sky.ra) - 1)
    ra_min = data.draw(sides.map(lambda place: float(sky.ra[place])) | st.floats(0, 360))
    ra_max = data.draw(sides.map(lambda place: float(sky.ra[place])) | st.floats(0, 720))
    dec_min, dec_max = sorted(float(sky.dec[place]) for place in (data.draw(sides), data.draw(sides)))
    box = Box(ra_min, ra_max, dec_min, dec_max)
    inside = box.contains(sky.ra, sky.dec)
    clear = np.ones(len(sky.ra), bool) if ra_max <= 360 else np.abs(sky.ra - ra_max % 360) > ROUNDING_DEG
    assert np.array_equal(inside[clear], in_box(sky, ra_min, ra_max, dec_min, dec_max)[clear])
    assert_covered(box, sky, inside)


@st.composite
def outlines(draw, sky):
    """Vertices of a polygon around a place of the sky: convex, concave, thin or crossing itself; up to 80 degrees from it."""
    ra, dec = draw(centres(sky))
    angles = draw(st.lists(st.floats(0, 360), min_size=3, max_size=8, unique=True))
    angles = sorted(angles) if draw(st.booleans()) else angles
    reach = np.minimum([draw(FRACTIONS) * sky.size for _ in angles], 80)
    return list(zip(*(values.tolist() for values in around(ra, dec, reach, np.array(angles))), strict=True))


@settings(deadline=None, max_examples=80)
@given(skies(), st.data())
def test_polygon__same_as_the_sum_of_angles(sky, data):
    vertices = data.draw(outlines(sky))
    try:
        polygon = Polygon.of(vertices)
    except CatalogError as error:
        assert "reach 90 degrees" in str(error) or "different vertices" in str(error)
        return
    inside = polygon.contains(sky.ra, sky.dec)
    expected, border = in_polygon(sky, vertices)
    clear = border > 1e-11
    assert np.array_equal(inside[clear], expected[clear])
    assert_covered(polygon, sky, inside)


@settings(deadline=None, max_examples=25)
@given(skies(), st.data())
def test_polygon__vertices_and_edges_are_inside(sky, data):
    vertices = data.draw(outlines(sky))
    try:
        polygon = Polygon.of(vertices)
    except CatalogError:
        return
    assert polygon.contains(*np.array(vertices).T).all()
    assert_covered(polygon, Sky((0, 0), 0, *np.array(vertices).T), np.ones(len(vertices), bool))


def test_polygon__edges_along_a_meridian_and_the_equator():
    polygon = Polygon.of([(359, 0), (2, 0), (2, 3), (359, 3)])
    along = np.linspace(0, 3, 50)
    assert polygon.contains(np.full(50, 359.0), along).all() and polygon.contains(np.full(50, 2.0), along).all()
    assert polygon.contains((359 + along) % 360, np.zeros(50)).all()
    assert not polygon.contains(np.full(50, 359 - 1e-12), along).any() and not polygon.contains(along, np.full(50, -1e-12)).any()


def test_polygon__what_is_gone_round_twice_is_outside():
    star = [(360 + 10 * np.sin(turn), 10 * np.cos(turn)) for turn in np.radians([0, 144, 288, 72, 216])]
    assert Polygon.of(star).contains(np.array([0.0, 0.0]), np.array([0.0, 8.0])).tolist() == [False, True]


def test_polygon__around_a_pole_reaches_it():
    polygon = Polygon.of([(0, 80), (90, 80), (180, 80), (270, 80)])
    assert polygon.contains(np.array([12.0, 45.0, 0.0]), np.array([90.0, 70.0, 81.0])).tolist() == [True, False, True]
    assert polygon.dec_limits() == pytest.approx((80, 90), abs=1e-5)
    # edges bulge away from the equator: the middle of one between two meridians 90 degrees apart
    assert Polygon.of([(0, 60), (90, 60), (45, 55)]).dec_limits() == pytest.approx(
        (55, np.degrees(np.arctan(np.tan(np.pi / 3) * 2**0.5))), abs=1e-5
    )


def test_box__negative_right_ascension_and_a_whole_turn():
    ra, dec = np.array([355.0, 5.0, 20.0, 0.0]), np.zeros(4)
    assert Box(-10, 10, -5, 5).contains(ra, dec).tolist() == [True, True, False, True]
    assert Box(350, 370, -5, 5).contains(ra, dec).tolist() == [True, True, False, True]
    assert Box(350, 360, -5, 5).contains(ra, dec).tolist() == [True, False, False, True]
    assert Box(-180, 180, -5, 5).contains(ra, dec).all()


def test_box__right_ascension_just_below_zero_is_that_of_zero():
    assert Box(0, 10, -5, 5).contains(np.array([-1e-20]), np.zeros(1)).all()


@settings(deadline=None, max_examples=60)
@given(skies(), st.integers(0, 20), st.data())
def test_moc__same_as_mocpy(sky, order, data):
    some = data.draw(st.lists(st.integers(0, len(sky.ra) - 1), max_size=30))
    moc = MOC.from_lonlat(sky.ra[some] * u.deg, sky.dec[some] * u.deg, max_norder=order)
    region = MocRegion.of(moc)
    inside = region.contains(sky.ra, sky.dec)
    assert np.array_equal(inside, moc.contains_lonlat(sky.ra * u.deg, sky.dec * u.deg)) and inside[some].all()
    assert_covered(region, sky, inside)


@pytest.mark.parametrize("kind", ["fits", "json", "ascii"])
def test_moc__from_a_file(kind, tmp_path):
    moc = MOC.from_string("3/10-12 5/0 8/700000 8/")
    moc.save(tmp_path / "searched.moc", format=kind)
    for path in (tmp_path / "searched.moc", str(tmp_path / "searched.moc")):
        region, expected = MocRegion.of(path), MocRegion.of(moc)
        assert np.array_equal(region.starts, expected.starts) and np.array_equal(region.stops, expected.stops)


def test_moc__empty_and_whole():
    empty, whole = MocRegion.of(MOC.new_empty(10)), MocRegion.of(MOC.from_string("0/0-11"))
    ra, dec = np.array(ANCHORS).T
    assert not empty.contains(ra, dec).any() and empty.healpix_ranges() == []
    assert whole.contains(ra, dec).all() and whole.healpix_ranges() == [(0, 12 << 58)] and whole.dec_limits()[1] >= 90


def test_read_model_coverage__says_which_there_are(tmp_path):
    with pytest.raises(CatalogError, match="'kids' has no coverage of a model 'lens': it has none of any model"):
        read_model_coverage(tmp_path, "lens", "kids")
    MOC.from_string("3/10-12").save(tmp_path / coverage_name("photoz"), format="fits")
    assert read_model_coverage(tmp_path, "photoz", "kids") == MOC.from_string("3/10-12")
    for model in ("lens", "../photoz", "*"):
        with pytest.raises(CatalogError, match="it has those of photoz"):
            read_model_coverage(tmp_path, model, "kids")


@pytest.mark.parametrize(
    "region",
    [Cone(0, 0, 1), Box(0, 360, -90, 90), Polygon.of([(0, 0), (1, 0), (0, 1)]), MocRegion.of(MOC.from_string("0/0-11"))],
)
def test_regions__nan_is_outside(region):
    with np.errstate(invalid="ignore"):
        assert not region.contains(np.array([np.nan, 0.1, np.inf]), np.array([0.1, np.nan, 0.1])).any()


def test_regions__ranges_follow_their_shape():
    """A long thin region and a ring around the sky are not covered like the cone around them."""

    def area(region):
        return sum(stop - start for start, stop in region.healpix_ranges()) / (12 << 58) * 41253

    assert area(Polygon.of([(0, 0), (10, 0), (10, 0.01), (0, 0.01)])) < 4
    assert area(Box(0, 360, -5, 5)) < 3 * 3596
    assert area(Box(10, 11, -80, 80)) < 1000  # of 41253, the limit is that of the number of ranges
    assert area(Cone(20, 30, 90)) < 1.1 * 20626


@pytest.mark.parametrize("order", [0, 1, 2, 5])
def test_cell_radius__reaches_the_corners(order):
    import cdshealpix

    cells = np.arange(12 * 4**order)
    lon, lat = cdshealpix.vertices(cells.astype(np.uint64), order)
    corners = unit_vectors(lon.deg, lat.deg)
    reach = separation_deg(corners, cell_centres(cells, order)[:, None]).max()
    assert 0.75 * cell_radius_deg(order) < reach < cell_radius_deg(order)


def test_merged_ranges__closes_the_smallest_gaps():
    starts = np.cumsum(np.arange(2 * MAX_RANGES) % 7 + 2) * 10
    ranges = merged_ranges(starts, starts + 5)
    assert len(ranges) <= MAX_RANGES and ranges[0][0] == starts[0] and ranges[-1][1] == starts[-1] + 5
    gaps = [right[0] - left[1] for left, right in zip(ranges, ranges[1:], strict=False)]
    assert min(gaps) >= np.sort(np.diff(starts) - 5)[-MAX_RANGES]
    assert merged_ranges(starts[:0], starts[:0]) == [] and merged_ranges(np.array([0, 5]), np.array([5, 9])) == [(0, 9)]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Cone(0, 91, 1), "cone: position is"),
        (lambda: Cone(np.nan, 0, 1), "cone: position is"),
        (lambda: Cone(1e20, 0, 1), "expected ra from -720 to 720"),
        (lambda: Cone(0, 0, -1), "radius is -3600 arcsec, expected 0 to 648000"),
        (lambda: Cone(0, 0, np.nan), "radius is nan arcsec"),
        (lambda: Box(0, 1, 5, -5), "dec_min 5 is above dec_max -5"),
        (lambda: Box(0, 1, -91, 0), "box: position is"),
        (lambda: Polygon.of([(0, 0), (1, 1), (0, 0)]), "2 different vertices, expected at least 3"),
        (lambda: Polygon.of([(0, 0), (0, 0), (1, 1), (1, 1)]), "2 different vertices"),
        (lambda: Polygon.of([(0, 0), (1, 1), (1, 95)]), "polygon: position is"),
        (lambda: Polygon.of([(0, 0), (120, 0), (240, 0)]), "reach 90 degrees from their centre"),
        (lambda: Polygon.of([1, 2, 3]), r"vertices have shape \(3,\)"),
        (lambda: Polygon.of([(0, 0), ("a", 1), (1, 2)]), "vertices are no pairs"),
        (lambda: MocRegion.of(3), "moc: int is no MOC of the sky: give a mocpy.MOC or a file"),
        (lambda: MocRegion.of("/none.fits"), "moc: there is no file '/none.fits'"),
    ],
)
def test_regions__wrong_arguments(make, message):
    with pytest.raises(CatalogError, match=message):
        make()


@pytest.mark.parametrize(
    "text", [b'{"a": 1}', b'{"31": [1]}', b'{"8": 3}', b"", b"5/99999999", b"\xff\xfe", b"{", b"SIMPLE  = ", b"hello"]
)
def test_moc__broken_file(text, tmp_path):
    (tmp_path / "broken").write_bytes(text)
    with pytest.raises(CatalogError, match="broken' cannot be read as a MOC .*expected FITS, JSON or ASCII"):
        MocRegion.of(tmp_path / "broken")


def test_moc__damaged_file(tmp_path):
    """What mocpy reads without complaint may be no MOC."""
    path = tmp_path / "damaged.fits"
    MOC.from_string("3/10-12 5/0 8/").save(path, format="fits")
    data = bytearray(path.read_bytes())
    data[5760:5768] = b"\x7f" * 8
    path.write_bytes(data)
    with pytest.raises(CatalogError, match="damaged"):
        MocRegion.of(path)


def test_separation_deg__small_and_large_angles():
    a = unit_vectors(np.array([0.0, 0.0, 10.0]), np.array([0.0, 0.0, 0.0]))
    b = unit_vectors(np.array([180.0, 1e-9, 10.0]), np.array([0.0, 0.0, 0.0]))
    np.testing.assert_allclose(separation_deg(a, b), [180, 1e-9, 0], rtol=1e-6)


# -- through a published catalog -------------------------------------------------------------------------------------------

N_CROWD = 3000


@pytest.fixture(scope="module")
def crowded(tmp_path_factory):
    """Rows crowded around the anchors on every scale, in each format: many partitions, row groups and chunks."""
    rng = np.random.default_rng(5)
    places = [around(*anchor, 10 ** rng.uniform(-4, 2, N_CROWD), rng.uniform(0, 360, N_CROWD)) for anchor in ANCHORS]
    ra, dec = (np.concatenate([place[axis] for place in places]) for axis in (0, 1))
    for n, anchor in enumerate(ANCHORS):
        ra[n], dec[n] = anchor
    order = np.argsort(healpix_index(ra, dec), kind="stable")
    sky = Sky((0, 0), 0, ra[order], dec[order])
    table = pa.table({"source_id": np.arange(len(ra)), "ra": sky.ra, "dec": sky.dec})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "ROW_GROUP_ROWS", 300)
        folder = tmp_path_factory.mktemp("crowded")
        kinds = ("hats", "zarr", "fits")
        return sky, [open_catalog(publish(table, folder / kind, formats=[kind], partition_rows=4000)) for kind in kinds]


@st.composite
def published_regions(draw, sky):
    """A region beside an anchor, of any size, as it is asked of a catalog, which rows it has, and for which that is clear."""
    place = Sky(draw(st.sampled_from(ANCHORS)), 10 ** draw(st.floats(-4, 1.9)), sky.ra, sky.dec)
    ra, dec = draw(centres(place))
    kind = draw(st.sampled_from(["cone", "box", "polygon", "moc"]))
    if kind == "cone":
        distance = vincenty_deg(sky.ra, sky.dec, ra, dec, float)
        return kind, (ra, dec, place.size * 3600), distance <= place.size, np.abs(distance - place.size) > 1e-12
    if kind == "box":
        west, east, low, high = ra, ra + 2 * place.size, max(-90, dec - place.size), min(90, dec + place.size)
        inside = ((sky.ra - west) % 360 <= min(east - west, 360)) & (sky.dec >= low) & (sky.dec <= high)
        return kind, (west, east, low, high), inside, np.abs((sky.ra - west + 1) % 360 - 1) > 1e-12
    if kind == "moc":
        moc = MOC.from_lonlat(
            np.array([ra]) * u.deg, np.array([dec]) * u.deg, max_norder=int(np.clip(np.log2(58 / place.size), 0, 29))
        )
        return kind, (moc,), moc.contains_lonlat(sky.ra * u.deg, sky.dec * u.deg), np.ones(len(sky.ra), bool)
    vertices = draw(outlines(Sky((ra, dec), min(place.size, 20), sky.ra, sky.dec)))
    inside, border = in_polygon(sky, vertices, float)
    return kind, (vertices,), inside, border > 1e-10


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_regions__no_row_is_lost_in_any_format(crowded, data):
    """Partitions, row groups and chunks that are left out have nothing inside."""
    sky, catalogs = crowded
    kind, arguments, inside, clear = data.draw(published_regions(sky))
    for catalog in catalogs:
        try:
            rows = getattr(catalog, kind)(*arguments)["source_id"]
        except CatalogError as error:
            assert "reach 90 degrees" in str(error) or "different vertices" in str(error)
            return
        found = np.zeros(len(sky.ra), bool)
        found[rows] = True
        assert np.array_equal(found[clear], inside[clear])
