import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surveycnn.catalogs.healpix import healpix_index, partition, pixel_range
from surveycnn.catalogs.regions import MAX_RANGES, Box, Cone, Polygon, separation_deg
from surveycnn.errors import CatalogError
from surveycnn.sky.sphere import unit_vectors

RNG = np.random.default_rng(3)
# all over the sky, crowded at the poles and at ra 0, and at those places exactly
RA = np.concatenate(
    [RNG.uniform(0, 360, 3000), RNG.normal(0, 1, 500) % 360, RNG.uniform(0, 360, 500), [0, 0, 0, 180, 359.9999999]]
)
DEC = np.concatenate(
    [np.degrees(np.arcsin(RNG.uniform(-1, 1, 3000))), RNG.normal(0, 1, 500), 90 - RNG.exponential(1, 500), [90, -90, 0, 0, 0]]
)
INDEX = healpix_index(RA, DEC)

RIGHT_ASCENSIONS = st.floats(0, 360) | st.sampled_from([0.0, 360.0, 359.5, 0.5])
DECLINATIONS = st.floats(-90, 90) | st.sampled_from([-90.0, 90.0, 89.5, 0.0])


def covered(region):
    """Mask of the test positions inside the region's index ranges and declinations."""
    low, high = region.dec_limits()
    ranges = region.healpix_ranges()
    assert len(ranges) <= MAX_RANGES and all(start < stop for start, stop in ranges) and ranges == sorted(ranges)
    return np.any([(start <= INDEX) & (INDEX < stop) for start, stop in ranges], axis=0) & (low <= DEC) & (DEC <= high)


@settings(deadline=None, max_examples=60)
@given(RIGHT_ASCENSIONS, DECLINATIONS, st.floats(0, 180) | st.floats(0, 2))
def test_cone__same_as_haversine(ra, dec, radius):
    delta = np.radians(RA - ra)
    sin2 = np.sin(np.radians(DEC - dec) / 2) ** 2 + np.cos(np.radians(DEC)) * np.cos(np.radians(dec)) * np.sin(delta / 2) ** 2
    distance = np.degrees(2 * np.arcsin(np.sqrt(np.clip(sin2, 0, 1))))
    cone = Cone(ra, dec, radius)
    inside = cone.contains(RA, DEC)
    clear = np.abs(distance - radius) > 1e-6
    assert np.array_equal(inside[clear], (distance <= radius)[clear])
    assert not np.any(inside & ~covered(cone))


@settings(deadline=None, max_examples=60)
@given(RIGHT_ASCENSIONS, st.floats(0, 400), DECLINATIONS, DECLINATIONS)
def test_box__same_as_walking_east(ra_min, width, dec_a, dec_b):
    low, high = sorted((dec_a, dec_b))
    box = Box(ra_min, ra_min + width, low, high)
    east = (RA - ra_min) % 360
    inside = box.contains(RA, DEC)
    clear = (np.abs(east - width % 360) > 1e-6) & (east > 1e-6) & (east < 360 - 1e-6)
    expected = (DEC >= low) & (DEC <= high) & ((east <= width) | (width >= 360))
    assert np.array_equal(inside[clear], expected[clear])
    assert not np.any(inside & ~covered(box))


def test_box__edges_are_inside_over_the_meridian():
    assert (
        Box(350, 10, -5, 5).contains(np.array([350.0, 0.0, 10.0, 349.9, 10.1]), np.zeros(5)).tolist() == [True] * 3 + [False] * 2
    )


def test_box__negative_right_ascension():
    assert Box(-10, 10, -5, 5).contains(np.array([355.0, 5.0, 20.0]), np.zeros(3)).tolist() == [True, True, False]


@settings(deadline=None, max_examples=40)
@given(RIGHT_ASCENSIONS, DECLINATIONS, st.floats(0.1, 60), st.integers(3, 8))
def test_polygon__convex_same_as_half_spaces(ra, dec, radius, n_vertices):
    """A convex polygon is where the great circle of each edge has the same side as the centre."""
    centre = unit_vectors(ra, dec)
    east = np.cross(centre, [0.3, 0.5, 0.7])
    east /= np.linalg.norm(east)
    angles = np.arange(n_vertices) * 2 * np.pi / n_vertices
    ring = np.cos(np.radians(radius)) * centre + np.sin(np.radians(radius)) * (
        np.cos(angles)[:, None] * east + np.sin(angles)[:, None] * np.cross(centre, east)
    )
    vertices = np.degrees(
        np.stack([np.arctan2(ring[:, 1], ring[:, 0]), np.arctan2(ring[:, 2], np.hypot(*ring[:, :2].T))], axis=1)
    )
    polygon = Polygon.of([(a % 360, d) for a, d in vertices])
    sides = unit_vectors(RA, DEC) @ np.cross(ring, np.roll(ring, -1, axis=0)).T
    clear = np.abs(sides).min(axis=1) > 1e-9
    inside = polygon.contains(RA, DEC)
    assert np.array_equal(inside[clear], np.all(sides > 0, axis=1)[clear])
    assert not np.any(inside & ~covered(polygon))


def test_polygon__concave_over_the_meridian():
    polygon = Polygon.of([(355, -5), (5, -5), (5, 5), (0, 0), (355, 5), (355, -5)])
    assert len(polygon.vertices) == 5
    assert polygon.contains(np.array([0.0, 0.0, 357.0, 180.0]), np.array([-2.0, 3.0, 1.0, 0.0])).tolist() == [
        True,
        False,
        True,
        False,
    ]


def test_polygon__around_a_pole():
    polygon = Polygon.of([(0, 80), (90, 80), (180, 80), (270, 80)])
    assert polygon.contains(np.array([12.0, 45.0, 0.0]), np.array([90.0, 70.0, 81.0])).tolist() == [True, False, True]


@pytest.mark.parametrize("region", [Cone(0, 0, 1), Box(0, 360, -90, 90), Polygon.of([(0, 0), (1, 0), (0, 1)])])
def test_regions__nan_is_outside(region):
    assert not region.contains(np.array([np.nan, 0.1]), np.array([0.1, np.nan])).any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Cone(0, 91, 1), "cone: position is"),
        (lambda: Cone(np.nan, 0, 1), "cone: position is"),
        (lambda: Cone(0, 0, -1), "radius is -3600 arcsec, expected 0 to 648000"),
        (lambda: Box(0, 1, 5, -5), "dec_min 5 is above dec_max -5"),
        (lambda: Box(0, 1, -91, 0), "box: position is"),
        (lambda: Polygon.of([(0, 0), (1, 1), (0, 0)]), "2 different vertices, expected at least 3"),
        (lambda: Polygon.of([(0, 0), (1, 1), (1, 95)]), "polygon: position is"),
        (lambda: Polygon.of([(0, 0), (120, 0), (240, 0)]), "reach 90 degrees from their centre"),
        (lambda: Polygon.of([1, 2, 3]), r"vertices have shape \(3,\)"),
    ],
)
def test_regions__wrong_arguments(make, message):
    with pytest.raises(CatalogError, match=message):
        make()


def test_separation_deg__small_and_large_angles():
    a = unit_vectors(np.array([0.0, 0.0, 10.0]), np.array([0.0, 0.0, 0.0]))
    b = unit_vectors(np.array([180.0, 1e-9, 10.0]), np.array([0.0, 0.0, 0.0]))
    np.testing.assert_allclose(separation_deg(a, b), [180, 1e-9, 0], rtol=1e-6)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 300), st.integers(1, 50), st.integers(0, 6))
def test_partition__covers_the_sky_and_every_row_once(n_rows, max_rows, max_order):
    index = np.sort(INDEX[:n_rows])
    pixels = partition(index, max_rows, max_order)
    edges = [pixel_range(order, pixel) for order, pixel, _, _ in pixels]
    assert edges[0][0] == 0 and edges[-1][1] == pixel_range(0, 11)[1]
    assert all(left[1] == right[0] for left, right in zip(edges, edges[1:], strict=False))
    assert all(
        np.array_equal(index[start:stop], index[(index >= low) & (index < high)])
        for (_, _, start, stop), (low, high) in zip(pixels, edges, strict=True)
    )
    assert all(stop - start <= max_rows or order == max_order for order, _, start, stop in pixels)


def test_healpix_index__same_as_hats():
    from hats.pixel_math import compute_spatial_index

    assert np.array_equal(INDEX, compute_spatial_index(RA, DEC))
