"""Fluxes, colours, conditions and shapes: the drawing adds up."""

from dataclasses import replace

import numpy as np
import pytest

from surveycnn.simulation.conditions import draw_exposures, draw_noise, pixel_noise
from surveycnn.simulation.field import add_defects
from surveycnn.simulation.galaxies import draw_disk, draw_elliptical, galaxy_light
from surveycnn.simulation.population import counts, draw_galaxy, draw_magnitude, draw_redshift, njy
from surveycnn.simulation.render import draw_light
from surveycnn.simulation.spectra import colours, k_correction

GRI = ("g", "r", "i")


@pytest.fixture
def exposures():
    return draw_exposures(np.random.default_rng(1), "lsst", GRI)


@pytest.mark.parametrize("kind", ["elliptical", "spiral", "edge_on"])
def test_galaxy_light__conserves_the_drawn_magnitude(exposures, kind):
    rng = np.random.default_rng(2)
    galaxy = replace(draw_galaxy(rng, 19.0, redshift=0.3, is_red=kind == "elliptical"), radius=0.8)
    structure = draw_elliptical(rng, galaxy) if kind == "elliptical" else draw_disk(rng, galaxy, max_inclination=50.0)
    if kind == "spiral":
        structure = replace(structure, arm_contrast=0.8, bar_fraction=0.2, clump_fraction=0.2)
    if kind == "edge_on":
        structure = replace(structure, inclination=85.0)
    image = draw_light(galaxy_light(rng, galaxy, structure, GRI), exposures, size=192)
    assert image[2].sum() == pytest.approx(njy(19.0), rel=0.03)


def test_draw_light__centre_is_where_it_was_put(exposures):
    rng = np.random.default_rng(3)
    galaxy = replace(draw_galaxy(rng, 18.0, is_red=True), radius=0.4)
    light = galaxy_light(rng, galaxy, draw_elliptical(rng, galaxy), GRI)
    image = draw_light(light, [replace(e, shift_x=0.0, shift_y=0.0) for e in exposures], size=64, centre=(3.0, -2.0))[1]
    y, x = np.mgrid[:64, :64]
    centroid = [(image * axis).sum() / image.sum() for axis in (y, x)]
    assert centroid == pytest.approx([34.5, 29.5], abs=0.1)


def test_draw_light__nothing_is_dark(exposures):
    assert not draw_light([], exposures).any()


def test_colours__red_and_blue_galaxies():
    g_i = {t: -2.5 * np.log10(colours(t, 0.3, GRI)[0]) for t in (0.0, 1.0, 2.0, 3.0)}
    assert g_i[0.0] > g_i[1.0] > g_i[2.0] > g_i[3.0] > 0.0
    assert 1.8 < g_i[0.0] < 2.8  # a luminous red galaxy at z = 0.3
    assert colours(1.0, 0.3, GRI, a_v=1.0)[0] < colours(1.0, 0.3, GRI)[0]


def test_k_correction__grows_for_ellipticals():
    assert k_correction(0.0, 1.0) > k_correction(0.0, 0.5) > k_correction(0.0, 0.1)


def test_pixel_noise__gives_the_depth():
    """A point source at the depth has S/N 5 in matched photometry with a Gaussian PSF."""
    sigma = pixel_noise(25.0, 0.8)
    y, x = np.mgrid[-20:21, -20:21] * 0.2
    psf = np.exp(-0.5 * (x**2 + y**2) / (0.8 / 2.3548) ** 2)
    psf /= psf.sum()
    assert njy(25.0) * np.sqrt((psf**2).sum()) / sigma == pytest.approx(5.0, rel=0.01)


def test_draw_noise__variance(exposures):
    exposure = exposures[0]
    sky = draw_noise(np.random.default_rng(1), np.zeros((400, 400), np.float32), exposure)
    bright = draw_noise(np.random.default_rng(1), np.full((400, 400), 1e4, np.float32), exposure)
    assert sky.std() == pytest.approx(exposure.sigma, rel=0.03)
    assert bright.std() == pytest.approx(np.sqrt(exposure.sigma**2 + 1e4 * exposure.source_variance), rel=0.03)
    assert np.corrcoef(sky[:, 1:].ravel(), sky[:, :-1].ravel())[0, 1] > 0.05


def test_draw_exposures__depths_of_the_surveys():
    rng = np.random.default_rng(5)
    sigma = {name: np.median([draw_exposures(rng, name, "i")[0].sigma for _ in range(100)]) for name in ("lsst", "wide", "kids")}
    assert sigma["lsst"] < sigma["wide"] < sigma["kids"]


def test_add_defects__leaves_the_input_alone(exposures):
    image = np.ones((3, 64, 64), np.float32)
    for seed in range(200):
        add_defects(np.random.default_rng(seed), image, exposures)
    assert (image == 1.0).all()


def test_draw_magnitude__within_limits_and_after_the_counts():
    rng = np.random.default_rng(1)
    magnitudes = np.array([draw_magnitude(rng, 18.0, 24.0) for _ in range(2000)])
    assert magnitudes.min() >= 18.0 and magnitudes.max() <= 24.0
    expected = counts(np.linspace(23, 24, 20)).mean() / (counts(np.linspace(18, 24, 120)).mean() * 6)
    assert (magnitudes > 23.0).mean() == pytest.approx(expected, abs=0.05)


def test_draw_redshift__fainter_is_farther():
    rng = np.random.default_rng(1)
    medians = [np.median([draw_redshift(rng, mag) for _ in range(200)]) for mag in (18.0, 21.0, 24.0)]
    assert medians == sorted(medians) and 0.1 < medians[0] < 0.25 and 0.8 < medians[2] < 1.2
