"""Encounters on the sky: scales, tides that show, and the light of particles."""

import numpy as np
import pytest

from surveycnn.simulation.conditions import draw_exposures
from surveycnn.simulation.encounters import run_encounter
from surveycnn.simulation.interactions import (
    MAX_SEPARATION,
    MAX_TIME_MYR,
    Tides,
    draw_interaction,
    draw_view,
    scales_of,
    tides_of,
    undisturbed_disk,
)
from surveycnn.simulation.merger_task import profile_of
from surveycnn.simulation.particles import CELL, GRID, Arms, Disk, disk_layers, particle_map
from surveycnn.simulation.population import draw_galaxy

GRI = ("g", "r", "i")
AXIS = (np.arange(GRID) + 0.5 - GRID / 2) * CELL


@pytest.fixture(scope="module")
def encounter():
    return run_encounter(np.random.default_rng(3), n_particles=600)


@pytest.fixture(scope="module")
def exposures():
    return draw_exposures(np.random.default_rng(1), "lsst", GRI)


def disk_of(positions, nucleus=(0.0, 0.0)):
    """A disk of given positions (particle, 2) that lies in the plane of the sky."""
    offsets = np.column_stack([positions - np.array(nucleus), np.zeros(len(positions))]).astype("f4")
    return Disk(offsets, np.eye(3, 2, dtype="f4"), np.eye(2, 3, dtype="f4"), np.array(nucleus))


def test_draw_view__time_and_place(encounter):
    rng = np.random.default_rng(2)
    galaxy = draw_galaxy(rng, 19.0, redshift=0.3, is_red=False)
    view = draw_view(rng, encounter, galaxy, 60.0, centred=True)
    assert view.time_myr == pytest.approx(60.0, abs=0.3 * scales_of(galaxy)[1])
    np.testing.assert_allclose(view.nuclei[0], 0.0)
    for disk, alone in zip(view.disks, view.undisturbed, strict=True):
        np.testing.assert_array_equal(disk.nucleus, alone.nucleus)


def test_draw_view__none_off_the_stamp(encounter):
    rng = np.random.default_rng(2)
    galaxy = draw_galaxy(rng, 15.0, redshift=0.005, is_red=False)
    assert all(draw_view(rng, encounter, galaxy, 100.0) is None for _ in range(5))


def test_tides_of__none_before_the_encounter(encounter, exposures):
    rng = np.random.default_rng(4)
    galaxy = draw_galaxy(rng, 19.0, redshift=0.3, is_red=False)
    early = draw_view(rng, encounter, galaxy, -1e4)
    while early is None:
        early = draw_view(rng, encounter, galaxy, -1e4)
    assert tides_of(early, galaxy, exposures).fraction < 0.01
    assert not tides_of(early, galaxy, exposures).is_detectable


@pytest.mark.parametrize(("fraction", "sn", "expected"), [(0.3, 100.0, True), (0.3, 10.0, False), (0.05, 100.0, False)])
def test_tides__detectable_and_strength(fraction, sn, expected):
    tides = Tides(fraction, sn)
    assert tides.is_detectable == expected and (tides.strength == 1.0) == expected


def test_draw_interaction__window_separation_and_scales(encounter, exposures):
    rng = np.random.default_rng(5)
    for _ in range(5):
        galaxy, view, tides = draw_interaction(rng, encounter, exposures, detectable=False)
        assert -10.0 <= view.time_myr <= MAX_TIME_MYR + 15.0 and view.separation <= MAX_SEPARATION
        assert tides.fraction >= 0.0 and scales_of(galaxy)[0] > 0.0


def test_draw_interaction__shows_its_tides_where_it_can(exposures):
    strong, rng = run_encounter(np.random.default_rng(3), n_particles=600), np.random.default_rng(6)
    seen = [draw_interaction(rng, strong, exposures)[2] for _ in range(6)]
    blind = [draw_interaction(rng, strong, exposures, detectable=False)[2] for _ in range(6)]
    assert np.mean([t.strength for t in seen]) > np.mean([t.strength for t in blind])


def test_undisturbed_disk__size_and_place(encounter):
    rng = np.random.default_rng(1)
    galaxy = draw_galaxy(rng, 18.0, redshift=0.1, is_red=False)
    disk = undisturbed_disk(rng, encounter, 1, galaxy, np.array([1.0, -2.0]))
    distance = np.median(np.linalg.norm(disk.offsets, axis=1)) * np.linalg.norm(disk.side[0])
    assert distance == pytest.approx(galaxy.radius, rel=0.3)
    np.testing.assert_allclose(np.median(disk.positions(), axis=0), [1.0, -2.0], atol=0.3 * galaxy.radius)


def test_particle_map__keeps_the_light_and_the_place():
    positions = np.random.default_rng(1).normal([1.0, -2.0], 0.6, (2000, 2))
    light = particle_map(positions)
    assert light.sum() == pytest.approx(1.0, rel=0.01)
    assert [(light.sum(1) * AXIS).sum(), (light.sum(0) * AXIS).sum()] == pytest.approx([1.0, -2.0], abs=0.08)
    assert particle_map(positions + 100.0).sum() == 0.0


def test_particle_map__weights_move_the_light():
    positions = np.concatenate([np.full((500, 2), -3.0), np.full((500, 2), 3.0)])
    light = particle_map(positions, np.repeat([3.0, 1.0], 500))
    assert light[: GRID // 2].sum() == pytest.approx(0.75, rel=1e-3)


def test_disk_layers__arms_stand_out():
    rng = np.random.default_rng(1)
    radius, angle = rng.gamma(2.0, 1.0, 20000), rng.uniform(0, 2 * np.pi, 20000)
    disk = disk_of(np.column_stack([radius * np.cos(angle), radius * np.sin(angle)]))
    arms = Arms(contrast=0.9, number=2, pitch=20.0, winding=1, phase=0.0, sharpness=2.0)
    spiral, plain = (disk_layers(rng, disk, a, 0.0) for a in (arms, Arms(0.0, 2, 20.0, 1, 0.0, 2.0)))
    assert spiral.shape == (2, GRID, GRID)
    ring = np.abs(np.hypot(AXIS[:, None], AXIS[None, :]) - 2.0) < 0.3
    assert spiral[1][ring].std() / spiral[1][ring].mean() > 2 * plain[1][ring].std() / plain[1][ring].mean()
    assert spiral.sum(axis=(1, 2)) == pytest.approx(plain.sum(axis=(1, 2)), rel=0.05)


def test_profile_of__has_the_moments_of_the_disk():
    positions = np.random.default_rng(1).normal([0.5, -1.0], [0.4, 1.2], (4000, 2))
    profile = profile_of(disk_of(positions, (0.5, -1.0)))
    image = profile.drawImage(nx=400, ny=400, scale=0.05, method="no_pixel").array
    axis = (np.arange(400) - 199.5) * 0.05
    y, x = (image.sum(1) * axis).sum() / image.sum(), (image.sum(0) * axis).sum() / image.sum()
    assert (y, x) == pytest.approx((0.5, -1.0), abs=0.1)
    spread = [np.sqrt((image.sum(k) * (axis - c) ** 2).sum() / image.sum()) for k, c in ((1, y), (0, x))]
    assert spread[1] / spread[0] == pytest.approx(3.0, rel=0.15)
    assert spread[1] == pytest.approx(1.2, rel=0.25)
