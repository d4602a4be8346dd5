import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from wcs_headers import PLACE, PROJECTIONS, SIP, TPV, header

from surveycnn.errors import InputError
from surveycnn.sky.wcs import (
    local_jacobian,
    mirrored,
    pixel_positions,
    pixel_scale_arcsec,
    read_wcs,
    sky_positions,
    wcs_from_text,
    wcs_text,
)

every_projection = pytest.mark.parametrize("name", PROJECTIONS)


@pytest.fixture
def pixels():
    """Positions x and y all over the mosaic, its corners among them."""
    rng = np.random.default_rng(5)
    corners = np.array([[-0.5, 3999.5, -0.5, 3999.5], [-0.5, -0.5, 3999.5, 3999.5]])
    return np.concatenate([corners, rng.uniform(0, 4000, (2, 96))], axis=1)


def separation_arcsec(first, second):
    """Of two pairs (ra, dec) in degrees."""
    return SkyCoord(*first, unit="deg").separation(SkyCoord(*second, unit="deg")).arcsec


@every_projection
def test_wcs_text__round_trip(name, pixels):
    wcs = read_wcs(PROJECTIONS[name])
    again = wcs_from_text(wcs_text(wcs))
    assert wcs.naxis == again.naxis == 2
    assert separation_arcsec(sky_positions(again, *pixels), sky_positions(wcs, *pixels)).max() < 1e-6
    assert wcs_text(again) == wcs_text(wcs)


@every_projection
def test_pixel_positions__inverse_of_sky_positions(name, pixels):
    wcs = read_wcs(PROJECTIONS[name])
    ra, dec = sky_positions(wcs, *pixels)
    assert ra.min() >= 0 and ra.max() < 360
    np.testing.assert_allclose(pixel_positions(wcs, ra, dec), pixels, rtol=0, atol=1e-6)


@every_projection
def test_positions__each_by_itself(name, pixels):
    wcs = read_wcs(PROJECTIONS[name])
    x, y = pixels
    ra, dec = sky_positions(wcs, x, y)
    found, back, jacobian = np.array([ra, dec]), np.array(pixel_positions(wcs, ra, dec)), local_jacobian(wcs, x, y)
    for some in (slice(0, 1), slice(3, 4), slice(20, 33)):
        np.testing.assert_array_equal(sky_positions(wcs, x[some], y[some]), found[:, some])
        np.testing.assert_array_equal(pixel_positions(wcs, ra[some], dec[some]), back[:, some])
        np.testing.assert_array_equal(local_jacobian(wcs, x[some], y[some]), jacobian[some])


@every_projection
def test_local_jacobian__steps_that_astropy_finds(name, pixels):
    wcs = read_wcs(PROJECTIONS[name])
    x, y = pixels
    jacobian = local_jacobian(wcs, x, y)
    centre = SkyCoord(*sky_positions(wcs, x, y), unit="deg")
    for axis, (dx, dy) in enumerate([(1, 0), (0, 1)]):
        ends = [SkyCoord(*sky_positions(wcs, x + s * dx, y + s * dy), unit="deg") for s in (-0.5, 0.5)]
        before, after = (np.array([part.arcsec for part in centre.spherical_offsets_to(end)]) for end in ends)
        np.testing.assert_allclose(jacobian[:, :, axis], (after - before).T, atol=1e-6)


@pytest.mark.parametrize("declination", [90.0, -90.0])
def test_local_jacobian__at_the_pole(declination):
    wcs = read_wcs(header(CRVAL1=0.0, CRVAL2=declination, CRPIX1=1001.0, CRPIX2=2001.0))
    jacobian = local_jacobian(wcs, np.array([1000.0, 1000.0 + 1e-3, 1000.0]), np.array([2000.0, 2000.0, 2000.0 - 1e-3]))
    areas = np.abs(np.linalg.det(jacobian))
    expected = 3600**2 * abs(np.linalg.det(wcs.wcs.cd))
    np.testing.assert_allclose(areas, expected, rtol=1e-6)
    # the metric is the same on every side of the pole, whatever east is there
    metric = np.swapaxes(jacobian, 1, 2) @ jacobian
    np.testing.assert_allclose(metric, np.broadcast_to(metric[0], metric.shape), atol=1e-7)


def test_local_jacobian__rows_and_columns():
    wcs = read_wcs(header(CD1_1=-1e-4, CD2_2=2e-4, CD1_2=0.0, CD2_1=0.0))
    x, y = np.array([PLACE["CRPIX1"] - 1]), np.array([PLACE["CRPIX2"] - 1])
    np.testing.assert_allclose(local_jacobian(wcs, x, y), [[[-0.36, 0], [0, 0.72]]], atol=1e-7)
    assert local_jacobian(wcs, np.zeros(0), np.zeros(0)).shape == (0, 2, 2)
    assert pixel_scale_arcsec(wcs, 3999, 1999) == pytest.approx(np.sqrt(0.36 * 0.72), rel=1e-6)


@pytest.mark.parametrize(
    ("axes", "cards", "frame"),
    [
        (("RA--", "DEC-"), {}, "icrs"),
        (("RA--", "DEC-"), {"EQUINOX": 2000.0}, "fk5"),
        (("RA--", "DEC-"), {"EQUINOX": 1950.0}, "fk4"),
        (("RA--", "DEC-"), {"RADECSYS": "FK5", "EQUINOX": 2000.0}, "fk5"),
        (("GLON", "GLAT"), {}, "galactic"),
        (("GLON", "GLAT"), {"RADESYS": "ICRS"}, "galactic"),
        (("ELON", "ELAT"), {}, "barycentricmeanecliptic"),
    ],
)
def test_sky_positions__icrs_whatever_the_frame(axes, cards, frame, pixels):
    wcs = read_wcs(header("TAN", axes, **cards))
    expected = SkyCoord(*wcs.all_pix2world(*pixels, 0), unit="deg", frame=frame).icrs
    assert separation_arcsec(sky_positions(wcs, *pixels), (expected.ra.deg, expected.dec.deg)).max() < 1e-8


def test_sky_positions__fk5_is_not_icrs(pixels):
    fk5, icrs = (sky_positions(read_wcs(header(RADESYS=name, EQUINOX=2000.0)), *pixels) for name in ("FK5", "ICRS"))
    assert 0.005 < separation_arcsec(fk5, icrs).max() < 0.05


def test_read_wcs__one_distortion_counts(pixels):
    def same(first, second):
        return separation_arcsec(*(sky_positions(read_wcs(PROJECTIONS[name]), *pixels) for name in (first, second))).max() < 1e-9

    assert same("SIP and PV", "SIP") and same("SIP, not announced", "SIP")
    assert same("TPV and SIP", "TPV") and same("TPV as SCAMP writes it", "TPV")
    assert not same("SIP", "TAN") and not same("TPV", "TAN")
    assert same("SIP announced, none there", "TAN") and same("SIP and an axis of one", "SIP")


def test_read_wcs__leaves_the_header_as_it_is():
    given = header("TAN", **SIP, **TPV)
    cards = given.tostring()
    read_wcs(given)
    assert given.tostring() == cards


def test_positions__beyond_the_projection():
    wcs = read_wcs(header("AIT", CRVAL1=0.0, CRVAL2=0.0, CRPIX1=180.5, CRPIX2=90.5, CD1_1=-1.0, CD2_2=1.0, CD1_2=0.0, CD2_1=0.0))
    x, y = np.array([0.0, 179.5, 359.0]), np.array([0.0, 89.5, 179.0])
    ra, dec = sky_positions(wcs, x, y)
    assert np.isnan(ra).tolist() == np.isnan(dec).tolist() == [True, False, True]
    assert np.isnan(local_jacobian(wcs, x, y)).all(axis=(1, 2)).tolist() == [True, False, True]


@pytest.mark.parametrize("name", ["TAN", "TPV", "SIP", "ZPN", "galactic", "SIN"])
def test_pixel_positions__none(name):
    wcs = read_wcs(PROJECTIONS[name])
    (ra,), (dec,) = sky_positions(wcs, np.array([100.0]), np.array([200.0]))
    behind = np.array([[ra, dec], [(ra + 180) % 360, -dec], [np.nan, dec], [ra, np.nan], [np.inf, dec]])
    x, y = pixel_positions(wcs, *behind.T)
    assert np.isnan(x).tolist() == np.isnan(y).tolist() == [False, True, True, True, True]
    assert (x[0], y[0]) == (pytest.approx(100.0, abs=1e-6), pytest.approx(200.0, abs=1e-6))


def test_pixel_positions__where_a_polynomial_folds():
    terms = {"A_ORDER": 2, "B_ORDER": 2, "A_2_0": 2e-4, "B_0_2": 0.0}  # x of the plane has its least value at -2500
    wcs = read_wcs(header("TAN-SIP", **terms))
    plane = read_wcs(header("TAN"))
    ra, dec = sky_positions(plane, np.array([1500.0, -5000.0]), np.array([2000.0, 2000.0]))
    x, _ = pixel_positions(wcs, ra, dec)
    assert np.isfinite(x).tolist() == [True, False]


def test_positions__shapes():
    wcs = read_wcs(header())
    assert [part.shape for part in sky_positions(wcs, np.zeros((2, 3)), np.zeros((2, 3)))] == [(2, 3), (2, 3)]
    assert [part.shape for part in pixel_positions(wcs, np.zeros((2, 3)), np.zeros((2, 3)))] == [(2, 3), (2, 3)]
    assert [part.size for part in (*sky_positions(wcs, [], []), *pixel_positions(wcs, [], []))] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("cards", "message"),
    [
        ({"CPDIS1": "Lookup"}, r"needs look-up tables \(CPDIS1\), expected one that a header describes by itself"),
        ({"D2IMDIS1": "Lookup"}, r"needs look-up tables \(D2IMDIS1\)"),
        (
            {"CTYPE1": "RA---TAB", "CTYPE2": "DEC--TAB"},
            r"look-up tables \(RA---TAB, DEC--TAB\).*give `wcs:` a header file with a fit",
        ),
        ({"CTYPE1": "HPLN-TAN", "CTYPE2": "HPLT-TAN"}, r"has axes 'HPLN' and 'HPLT' .*expected RA and DEC in ICRS, FK5 or FK4"),
        ({"CTYPE1": "MALN-CAR", "CTYPE2": "MALT-CAR"}, r"has axes 'MALN' and 'MALT'"),
        ({"RADESYS": "GAPPT"}, r"axes 'RA--' and 'DEC-' with RADESYS 'GAPPT'"),
        ({"CTYPE1": "FREQ", "CTYPE2": "STOKES"}, r"no celestial WCS in the header: the first two axes are 'FREQ' and 'STOKES'"),
        ({"CTYPE2": "DEC--SIN"}, r"cannot be read \(Inconsistent projection types"),
        (
            {"CTYPE1": "RA---QQQ", "CTYPE2": "DEC--QQQ"},
            r"cannot be read \(Unrecognized projection code \(QQQ in CTYPE1\)\): give `wcs:`",
        ),
        (dict.fromkeys(("CD1_1", "CD1_2", "CD2_1", "CD2_2"), 0.0), r"cannot be read \(Linear transformation matrix is singular"),
    ],
)
def test_read_wcs__refused(cards, message):
    with pytest.raises(InputError, match=message):
        read_wcs(header(**cards))


def test_read_wcs__sky_behind_another_axis():
    cards = {"NAXIS": 3, "CTYPE1": "FREQ", "CTYPE2": "RA---TAN", "CTYPE3": "DEC--TAN", "CRVAL3": 1.0, "CDELT3": 1e-4}
    with pytest.raises(InputError, match="cannot be read .Unmatched celestial axes"):
        read_wcs(header(**cards))


def test_read_wcs__wcs_of_astropy(pixels):
    found = np.array(read_wcs(PROJECTIONS["ZPN"]).all_pix2world(*pixels, 0))
    np.testing.assert_array_equal(found, WCS(PROJECTIONS["ZPN"]).all_pix2world(*pixels, 0))


@every_projection
def test_mirrored__has_the_same_sky_from_right_to_left(name, pixels):
    wcs = wcs_from_text(wcs_text(read_wcs(PROJECTIONS[name])))
    x, y = pixels
    there, here = sky_positions(mirrored(wcs, 4000), 3999 - x, y), sky_positions(wcs, x, y)
    for values, expected in zip(there, here, strict=True):
        np.testing.assert_allclose(values, expected, rtol=0, atol=1e-9)
