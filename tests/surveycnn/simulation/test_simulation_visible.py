"""What volunteers see of arms, bars and shapes, and what they answer."""

from dataclasses import replace

import numpy as np
import pytest

from surveycnn.simulation.conditions import draw_exposures
from surveycnn.simulation.galaxies import draw_disk, galaxy_light
from surveycnn.simulation.morphology_task import answer_probabilities
from surveycnn.simulation.population import draw_galaxy
from surveycnn.simulation.render import draw_light
from surveycnn.simulation.visible import Look, axis_ratio, look_at

GRI = ("g", "r", "i")


@pytest.fixture(scope="module")
def exposures():
    return draw_exposures(np.random.default_rng(1), "lsst", GRI)


def looked(exposures, galaxy, structure, seed=7):
    image = draw_light(galaxy_light(np.random.default_rng(seed), galaxy, structure, GRI), exposures)
    return look_at(galaxy, structure, image[1], exposures[1], seed)


@pytest.fixture(scope="module")
def near():
    return replace(draw_galaxy(np.random.default_rng(2), 17.0, redshift=0.05, is_red=False), radius=2.5)


def spiral_of(galaxy, **changes):
    disk = draw_disk(np.random.default_rng(3), galaxy, max_inclination=30.0, bulge_fraction=0.15)
    plain = {"arm_contrast": 0.0, "bar_fraction": 0.0, "ring_fraction": 0.0, "inclination": 25.0}
    return replace(disk, **(plain | changes))


def test_look_at__features_alone_and_none(exposures, near):
    plain = looked(exposures, near, spiral_of(near))
    assert plain.any_feature == 0.0
    arms = looked(exposures, near, spiral_of(near, arm_contrast=0.9))
    assert arms.arms > 0.95 and arms.bar == 0.0
    bar = looked(exposures, near, spiral_of(near, bar_fraction=0.3, bar_length=1.2))
    assert bar.bar > 0.8 and bar.arms == 0.0
    ring = looked(exposures, near, spiral_of(near, ring_fraction=0.35))
    assert ring.ring > 0.5 and ring.any_feature == pytest.approx(ring.ring)


def test_look_at__fades_with_size_and_with_flux(exposures, near):
    def arms(**changes):
        galaxy = replace(near, **changes)
        return looked(exposures, galaxy, spiral_of(galaxy, arm_contrast=0.6)).arms

    seen = [arms(radius=r) for r in (2.5, 0.9, 0.3)]
    assert seen[0] > 0.9 and sorted(seen, reverse=True) == seen and seen[2] < 0.05
    assert arms(mag_i=24.0) < 0.1


def test_axis_ratio__of_the_isophote(exposures):
    y, x = np.mgrid[:64, :64] - 31.5
    blob = 1e4 * np.exp(-0.5 * ((x / 10) ** 2 + (y / 4) ** 2))
    assert axis_ratio(blob, exposures[1]) == pytest.approx(0.4, abs=0.03)
    assert axis_ratio(blob.T, exposures[1]) == pytest.approx(0.4, abs=0.03)
    assert axis_ratio(np.zeros((64, 64)), exposures[1]) == 1.0


def test_answer_probabilities__follow_what_can_be_seen(near):
    structure = spiral_of(near, arm_contrast=0.9, bulge_fraction=0.05)
    clear, blurred = Look(1.0, 0.0, 0.0, 0.9), Look(0.0, 0.0, 0.0, 0.9)
    seen, missed = (answer_probabilities(structure, look) for look in (clear, blurred))
    assert seen["smooth_or_featured"][1] > 0.8 and missed["smooth_or_featured"][0] > 0.85
    assert seen["has_spiral_arms"][0] > 0.9 > 0.1 > missed["has_spiral_arms"][0]
    assert seen["disk_edge_on"][1] > 0.95 and seen["bar"][2] > 0.95 and seen["bulge_size"][2] > 0.8
    assert seen["how_rounded"][0] > 0.8
    for values in (*seen.values(), *missed.values()):
        assert values.sum() == pytest.approx(1.0) and values.min() > 0.0


def test_answer_probabilities__edge_on_and_bars(near):
    side = replace(spiral_of(near), inclination=86.0)
    answers = answer_probabilities(side, Look(0.0, 0.0, 0.0, 0.3))
    assert answers["disk_edge_on"][0] > 0.95 and answers["smooth_or_featured"][1] > 0.8
    assert answers["how_rounded"][2] > 0.8
    strong, weak = (answer_probabilities(spiral_of(near, bar_fraction=f), Look(0.0, 1.0, 0.0, 0.9))["bar"] for f in (0.3, 0.08))
    assert strong.argmax() == 0 and weak.argmax() == 1
