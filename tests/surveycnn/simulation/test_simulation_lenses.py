import numpy as np
import pytest

from surveycnn.simulation.arcs import (
    MAX_THETA_E,
    MIN_ARC_SN,
    MIN_MAGNIFICATION,
    MIN_PEAK_SN,
    MIN_THETA_E,
    draw_lens,
    visibility,
)
from surveycnn.simulation.conditions import draw_exposures
from surveycnn.simulation.confusers import REARRANGED, SURVEYED, confuser_light
from surveycnn.simulation.cosmology import einstein_radius
from surveycnn.simulation.lenses import Source, ray_trace, source_brightness
from surveycnn.simulation.render import draw_light

GRI = ("g", "r", "i")


def make_source(**changes):
    values = {"redshift": 2.0, "radius": 0.2, "axis_ratio": 0.7, "angle": 0.4, "sersic_index": 1.3, "spectral_type": 2.5}
    return Source(**(values | {"a_v": 0.0, "y": 0.1, "x": -0.2, "clumps": np.array([[0.5, -0.3, 0.2, 0.3]])} | changes))


def test_einstein_radius__isothermal_sphere():
    assert einstein_radius(250.0, 0.3, 2.0) == pytest.approx(1.36, abs=0.05)
    assert einstein_radius(200.0, 0.3, 2.0) / einstein_radius(100.0, 0.3, 2.0) == pytest.approx(4.0)
    assert einstein_radius(250.0, 0.5, 0.4) == 0.0


def test_ray_trace__ring_falls_on_a_point():
    angle = np.linspace(0.0, 2.0 * np.pi, 50)
    y, x = ray_trace(1.3 * np.sin(angle), 1.3 * np.cos(angle), 1.3, 0.999, 0.0)
    assert np.hypot(y, x).max() < 0.01


@pytest.mark.parametrize("axis_ratio", [0.5, 0.8])
def test_ray_trace__mass_inside_the_einstein_radius(axis_ratio):
    """The mean convergence, half the divergence of the deflection, is 1 inside the critical ellipse of that area."""
    step = 0.01
    axis = np.arange(-3.0, 3.0, step) + step / 2
    x, y = np.meshgrid(axis, axis)
    source_y, source_x = ray_trace(y.ravel(), x.ravel(), 1.2, axis_ratio, 0.0)
    alpha_y, alpha_x = y - source_y.reshape(y.shape), x - source_x.reshape(y.shape)
    kappa = 0.5 * (np.gradient(alpha_x, step, axis=1) + np.gradient(alpha_y, step, axis=0))
    inside = axis_ratio * x**2 + y**2 / axis_ratio < 1.2**2
    assert kappa[inside].mean() == pytest.approx(1.0, abs=0.04)


@pytest.mark.parametrize("index", [0.7, 1.0, 1.8])
def test_source_brightness__flux_is_one(index):
    axis = (np.arange(800) - 399.5) * 0.01
    x, y = np.meshgrid(axis, axis)
    assert source_brightness(make_source(sersic_index=index), y, x).sum() * 0.01**2 == pytest.approx(1.0, abs=0.03)


def test_draw_lens__arcs_are_detectable():
    for seed in range(5):
        rng = np.random.default_rng(seed)
        exposures = draw_exposures(rng, "wide", GRI)
        lens = draw_lens(rng, exposures)
        assert MIN_THETA_E < lens.truth["theta_e"] < MAX_THETA_E
        assert lens.truth["magnification"] >= MIN_MAGNIFICATION
        assert lens.truth["redshift_source"] > lens.truth["redshift"]
        arcs = draw_light([lens.arcs], exposures[:2])
        assert max(arcs[k].max() / exposures[k].sigma for k in range(2)) > MIN_PEAK_SN


def test_draw_lens__arcs_stand_at_the_einstein_radius():
    """Light-weighted mean distance of the images of a source well inside the ring."""
    ratios = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        lens = draw_lens(rng, draw_exposures(rng, "lsst", GRI))
        image = lens.arcs.maps[0]
        axis = (np.arange(len(image)) - (len(image) - 1) / 2) * lens.arcs.scale
        distance = np.hypot(axis[:, None], axis[None, :])
        ratios.append((image * distance).sum() / image.sum() / lens.truth["theta_e"])
    assert 0.8 < np.median(ratios) < 1.5


def test_draw_lens__truth_is_that_of_the_image():
    for seed in range(3):
        exposures = draw_exposures(np.random.default_rng(seed), "wide", GRI)
        lens = draw_lens(np.random.default_rng(seed), exposures)
        np.testing.assert_allclose(lens.image, draw_light(lens.light, exposures), atol=2e-3 * lens.image.max())
        seen = visibility(draw_light(lens.deflector_light, exposures), draw_light([lens.arcs], exposures), exposures)
        assert lens.truth["is_detectable"] and lens.truth["arc_sn"] >= MIN_ARC_SN * (1 - 1e-6)
        assert seen.total_sn == pytest.approx(lens.truth["arc_sn"], rel=1e-2)


def test_draw_lens__the_whole_population_holds_what_cannot_be_seen():
    lenses = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        lenses.append(draw_lens(rng, draw_exposures(rng, "wide", GRI), detectable=False).truth)
    faint = [truth for truth in lenses if not truth["is_detectable"]]
    assert 5 < len(faint) < 30
    assert np.median([truth["arc_sn"] for truth in faint]) < MIN_ARC_SN


@pytest.mark.parametrize("kind", [*REARRANGED, *SURVEYED])
def test_confuser_light__every_kind_can_be_drawn(kind):
    rng = np.random.default_rng(6)
    exposures = draw_exposures(rng, "lsst", GRI)
    image = draw_light(confuser_light(rng, kind, draw_lens(rng, exposures), GRI), exposures)
    assert np.isfinite(image).all() and image.sum() > 0.0


@pytest.mark.parametrize("kind", REARRANGED)
def test_confuser_light__rearranged_keeps_the_very_light(kind):
    """Flux of every band, and the deflector itself."""
    rng = np.random.default_rng(4)
    lens = draw_lens(rng, draw_exposures(rng, "lsst", GRI))
    light = confuser_light(rng, kind, lens, GRI)
    assert light[: len(lens.deflector_light)] == lens.deflector_light
    total = np.sum([np.atleast_2d(part.flux).sum(axis=0) for part in light], axis=0)
    np.testing.assert_allclose(total, lens.deflector_flux + lens.arc_flux, rtol=1e-6)
