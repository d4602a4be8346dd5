from dataclasses import replace

import numpy as np
import pytest
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from surveycnn.catalogs.coverage import Footprint
from surveycnn.catalogs.flags import flag_value
from surveycnn.catalogs.publishing.primary import primary_rows
from surveycnn.catalogs.selection.regions import separation_deg
from surveycnn.errors import SurveyCNNError
from surveycnn.sky.sphere import unit_vectors


def footprint(mosaic, ra, size=1000, scale=1.0):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [ra, 0.0], [size / 2 + 0.5, size / 2 + 0.5]
    wcs.wcs.cdelt = [-scale / 3600, scale / 3600]
    return Footprint(mosaic, wcs, size, size)


A, B = footprint("a", 10.0), footprint("b", 10.0 + 600 / 3600)


def detections(footprint, ra, dec, first_id, flux_radius=0.4, flags=0):
    """Columns of the positions that lie in a footprint."""
    ra, dec = (np.asarray(values, dtype=float) for values in (ra, dec))
    x, y = footprint.wcs.all_world2pix(ra, dec, 0)
    inside = footprint.depth_arcsec(y, x) > 0
    number = inside.sum()
    columns = {"ra": ra, "dec": dec, "x": x, "y": y}
    columns |= {"flux_radius": np.broadcast_to(flux_radius, ra.shape), "flags": np.broadcast_to(flags, ra.shape)}
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


def test_primary_rows__unknown_mosaic():
    columns = together(detections(A, np.array([10.05]), np.zeros(1), 0), detections(B, np.array([10.05]), np.zeros(1), 9))
    with pytest.raises(SurveyCNNError, match=r"mosaic 'b', which is not among the footprints \['a'\]"):
        primary_rows(columns, [A])


# -- what is the same object -----------------------------------------------------------------------------------------------

DEEP = 10 + 150 / 3600
"""Right ascension deeper in A than in B."""


def near(footprint, offsets_arcsec, first_id, **columns):
    """Detections at offsets along the right ascension from a place deeper in A."""
    ra = DEEP + np.asarray(offsets_arcsec, dtype=float) / 3600
    return detections(footprint, ra, np.zeros(len(ra)), first_id, **columns)


def primary_ids(*parts, footprints=(A, B), **options):
    columns = together(*parts)
    return sorted(columns["source_id"][primary_rows(columns, footprints, **options)].tolist())


def test_primary_rows__blend_that_the_other_mosaic_resolves():
    """Both resolved sources where that mosaic owns the place; elsewhere the blend stands for the nearer one."""
    assert primary_ids(near(B, [0.0], 100, flux_radius=1.1), near(A, [-1.3, 1.5], 0)) == [0, 1]
    assert primary_ids(near(A, [0.0], 0, flux_radius=1.1), near(B, [-1.3, 1.5], 100)) == [0, 101]


@pytest.mark.parametrize("flux_radius", [0.4, np.nan])
def test_primary_rows__further_apart_than_their_sizes(flux_radius):
    sizes = {"flux_radius": flux_radius}
    assert primary_ids(near(A, [0.0], 0, **sizes), near(B, [1.1], 100, **sizes)) == [0, 100]
    assert primary_ids(near(A, [0.0], 0, **sizes), near(B, [0.9], 100, **sizes)) == [0]


def test_primary_rows__centroid_of_a_large_galaxy_scatters():
    assert primary_ids(near(A, [0.0], 0, flux_radius=2.0), near(B, [2.4], 100, flux_radius=1.8)) == [0]


def test_primary_rows__companion_that_one_mosaic_shows_stays():
    galaxy, again = near(A, [0.0], 0, flux_radius=2.0), near(B, [0.2], 100, flux_radius=2.0)
    assert primary_ids(galaxy, again, near(B, [2.5], 101)) == [0, 101]


def test_primary_rows__piece_of_a_galaxy_at_an_edge():
    edge = {"flags": flag_value("edge"), "flux_radius": 0.5}
    galaxy, again = near(A, [0.0], 0, flux_radius=1.5), near(B, [0.2], 100, flux_radius=1.5)
    assert primary_ids(galaxy, again, near(B, [3.5, 4.0], 101, **edge)) == [0]
    assert primary_ids(near(A, [3.5], 0, **edge), near(B, [0.0], 100, flux_radius=1.5)) == [100]  # though deeper


def test_primary_rows__whole_pixels_before_depth():
    assert primary_ids(near(A, [0.0], 0, flags=flag_value("masked")), near(B, [0.1], 100)) == [100]
    assert primary_ids(near(A, [0.0], 0, flags=flag_value("blended")), near(B, [0.1], 100)) == [0]


def test_primary_rows__depth_ends_at_a_hole():
    x, y = (float(values) for values in A.wcs.all_world2pix(DEEP, 0.0, 0))
    holed = replace(A, not_searched=((int(y) - 32, int(y) + 32, int(x) + 30, int(x) + 94),))
    rows = near(A, [0.0], 0), near(B, [0.1], 100)
    assert primary_ids(*rows) == [0]
    assert primary_ids(*rows, footprints=(holed, B)) == [100]


def test_primary_rows__coincident_peaks_of_one_mosaic():
    assert primary_ids(near(A, [0.0, 0.01], 0)) == [0]
    assert primary_ids(near(A, [0.0, 0.2], 0)) == [0, 1]


def test_primary_rows__position_unknown():
    assert primary_ids(near(A, [0.0], 0), near(B, [0.1], 100), near(B, [50.0], 101) | {"ra": np.array([np.nan])}) == [0, 101]


def test_primary_rows__same_object_by_label():
    """Two rows of a user's table, 0.5 arcsec apart, are two objects however far the mosaics disagree."""
    rows = near(A, [0.0, 0.5], 0), near(B, [0.4, 1.9], 100)
    assert primary_ids(*rows, same_object=np.array([7, 8, 7, 8])) == [0, 1]
    assert primary_ids(*rows, same_object=np.array([7, 8, 9, 8])) == [0, 1, 100]


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6))
def test_primary_rows__rule_holds_in_any_order(seed):
    """Three mosaics, crowded: shuffled rows give the same; who is not primary has a primary one of another mosaic in reach."""
    rng = np.random.default_rng(seed)
    third = footprint("c", 10.0 + 300 / 3600, size=700)
    parts = []
    for number, mosaic in enumerate((A, B, third)):
        ra, dec = DEEP + rng.uniform(-12, 12, 60) / 3600, rng.uniform(-12, 12, 60) / 3600
        sizes, flags = rng.choice([np.nan, 0.3, 0.8, 2.0, 5.0], 60), rng.choice([0, 0, 0, flag_value("edge")], 60)
        parts.append(detections(mosaic, ra, dec, 100 * number, flux_radius=sizes, flags=flags))
    columns = together(*parts)
    primary = primary_rows(columns, [A, B, third])
    order = rng.permutation(len(primary))
    assert np.array_equal(primary_rows({name: values[order] for name, values in columns.items()}, [third, B, A]), primary[order])
    place = unit_vectors(columns["ra"], columns["dec"])
    distance = separation_deg(place[:, None], place) * 3600
    other = columns["mosaic"][:, None] != columns["mosaic"]
    assert not (other & (distance <= 1) & primary[:, None] & primary).any()
    reach = np.fmax(3 * np.fmax(columns["flux_radius"][:, None], columns["flux_radius"]), 1)
    explained = ((distance <= np.where(other, reach, 0.1)) & primary).any(axis=1)
    assert explained[~primary].all() and 0 < primary.sum() < len(primary)
