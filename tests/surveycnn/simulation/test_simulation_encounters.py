import numpy as np
import pytest

from surveycnn.simulation.encounters import (
    TIME_STEP,
    acceleration,
    draw_disk_particles,
    evolve_isolated,
    incoming_orbit,
    orbit_step,
    orbital_energy,
    potential,
    random_rotation,
    run_encounter,
)


@pytest.fixture(scope="module")
def encounter():
    return run_encounter(np.random.default_rng(3), n_particles=200)


def test_acceleration__is_the_slope_of_the_potential():
    radius, step = np.array([0.3, 1.0, 4.0, 20.0]), 1e-4
    offset = np.column_stack([radius, np.zeros((4, 2))])
    slope = (potential(radius + step, 0.6) - potential(radius - step, 0.6)) / (2 * step)
    np.testing.assert_allclose(acceleration(offset, 0.6)[:, 0], -slope, rtol=1e-4)


def test_orbit_step__conserves_energy_without_friction():
    offset, velocity = incoming_orbit(np.random.default_rng(1), 0.5)
    start = orbital_energy(offset, velocity, 0.5)
    depth = abs(1.5 * potential(1.0, 1.0))
    for _ in range(200):
        offset, velocity = orbit_step(offset, velocity, 0.5, TIME_STEP, friction=False)
    assert abs(orbital_energy(offset, velocity, 0.5) - start) < 0.02 * depth


def test_orbit_step__friction_binds():
    offset, velocity = incoming_orbit(np.random.default_rng(1), 0.5)
    start = orbital_energy(offset, velocity, 0.5)
    for _ in range(200):
        offset, velocity = orbit_step(offset, velocity, 0.5, TIME_STEP, friction=True)
    assert orbital_energy(offset, velocity, 0.5) < start


def test_evolve_isolated__disk_stays_round_and_thin():
    position, velocity, rotation = draw_disk_particles(np.random.default_rng(2), 1.0, 1500)
    assert np.abs(position @ rotation[:, 2]).std() < 0.1 * np.abs(position @ rotation[:, 0]).std()  # the plane it says
    snapshots = evolve_isolated(position, velocity, 1.0, 300, 100)
    before, after = (np.linalg.svd(p - p.mean(axis=0), compute_uv=False) for p in (snapshots[0], snapshots[-1]))
    assert after[1] / after[0] > 0.9  # round
    assert after[2] / after[0] < 0.25  # thin
    assert after[0] == pytest.approx(before[0], rel=0.1)  # as large as it was


def test_run_encounter__centre_of_mass_stays(encounter):
    weights = np.array([1.0, encounter.mass_ratio])[None, :, None]
    assert np.abs((encounter.centres * weights).sum(axis=1)).max() < 1e-9


def test_run_encounter__time_zero_is_the_first_pericentre(encounter):
    separation = np.sqrt(((encounter.centres[:, 1] - encounter.centres[:, 0]) ** 2).sum(axis=1))
    before = encounter.time < 0
    assert (np.diff(separation[before]) < 0).all()
    nearest = np.abs(encounter.time).argmin()
    assert separation[nearest] == pytest.approx(encounter.pericentre, rel=0.35)
    assert encounter.particles.shape == (len(encounter.time), 2, 200, 3)


def test_run_encounter__tides_disturb_both_disks(encounter):
    last = len(encounter.time) - 1
    for number in (0, 1):
        disk = encounter.particles[last, number] - encounter.centres[last, number]
        alone = encounter.undisturbed[last, number]
        assert np.percentile(np.linalg.norm(disk, axis=1), 95) > 1.2 * np.percentile(np.linalg.norm(alone, axis=1), 95)


def test_run_encounter__starts_undisturbed(encounter):
    for number in (0, 1):
        disk = encounter.particles[0, number] - encounter.centres[0, number].astype("f4")
        np.testing.assert_allclose(disk, encounter.undisturbed[0, number], atol=1e-4)
        height = encounter.undisturbed[-1, number] @ encounter.planes[number][:, 2]
        assert height.std() < 0.25 * np.linalg.norm(encounter.undisturbed[-1, number], axis=1).std() + 0.2


def test_random_rotation__is_a_rotation():
    rotation = random_rotation(np.random.default_rng(4))
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1.0)
