import numpy as np
import pytest

from surveycnn.errors import ConfigError, InputError
from surveycnn.simulation.morphology_task import QUESTIONS
from surveycnn.simulation.stamps import TASKS, StampSet, simulate_stamps


@pytest.fixture(scope="module")
def sets():
    return {task: simulate_stamps(task, 12, seed=4) for task in TASKS}


@pytest.mark.parametrize("task", sorted(TASKS))
def test_simulate_stamps__shape_and_dtype(sets, task):
    made = sets[task]
    assert made.stamps.shape == (12, 64, 64, len(made.bands)) and made.stamps.dtype == np.float32
    assert made.bands == (("g", "r", "i", "z") if task == "photoz" else ("g", "r", "i"))
    assert all(len(values) == 12 for values in (made.labels | made.truth).values())
    assert not np.isinf(made.stamps).any()


@pytest.mark.parametrize("task", sorted(TASKS))
def test_simulate_stamps__head_of_longer_set(sets, task):
    head = simulate_stamps(task, 5, seed=4)
    np.testing.assert_array_equal(head.stamps, sets[task].stamps[:5])
    for name, values in head.labels.items():
        np.testing.assert_array_equal(values, sets[task].labels[name][:5])


def test_simulate_stamps__same_for_any_number_of_workers():
    alone, pair = simulate_stamps("merger", 34, seed=8), simulate_stamps("merger", 34, seed=8, n_workers=2)
    np.testing.assert_array_equal(alone.stamps, pair.stamps)
    for name in alone.truth:
        np.testing.assert_array_equal(alone.truth[name], pair.truth[name])


def test_simulate_stamps__seeds_differ(sets):
    assert not np.array_equal(simulate_stamps("photoz", 2, seed=5).stamps, sets["photoz"].stamps[:2])


def test_simulate_stamps__missing_pixels_are_rare_and_nan():
    stamps = simulate_stamps("photoz", 150, seed=1).stamps
    share = np.isnan(stamps).any(axis=(1, 2, 3)).mean()
    assert 0.0 < share < 0.06


def test_simulate_stamps__labels(sets):
    assert sets["lens"].labels["is_lens"].dtype == bool
    assert np.isfinite(sets["lens"].truth["theta_e"]).tolist() == sets["lens"].labels["is_lens"].tolist()
    merger = sets["merger"].labels
    assert np.isfinite(merger["time_myr"]).tolist() == merger["is_merger"].tolist()
    assert set(merger["encounter"]) == {0}
    assert (sets["photoz"].labels["redshift"] > 0).all()


def test_simulate_stamps__votes_follow_the_tree(sets):
    votes = sets["morphology"].labels
    assert {name: values.shape[1] for name, values in votes.items()} == {name: len(a) for name, a in QUESTIONS.items()}
    np.testing.assert_array_equal(votes["how_rounded"].sum(1), votes["smooth_or_featured"][:, 0])
    np.testing.assert_array_equal(votes["disk_edge_on"].sum(1), votes["smooth_or_featured"][:, 1])
    np.testing.assert_array_equal(votes["bar"].sum(1), votes["disk_edge_on"][:, 1])
    truth = sets["morphology"].truth
    for name, answers in QUESTIONS.items():
        assert truth[f"fraction_{name}"].shape == (12, len(answers))
        np.testing.assert_allclose(truth[f"fraction_{name}"].sum(axis=1), 1.0, atol=1e-5)


def test_stamp_set__round_trip(sets, tmp_path):
    made = sets["merger"]
    made.save(tmp_path / "merger.npz")
    read = StampSet.load(tmp_path / "merger.npz")
    assert (read.task, read.bands) == (made.task, made.bands)
    np.testing.assert_array_equal(read.stamps, made.stamps)
    for name, values in (made.labels | made.truth).items():
        np.testing.assert_array_equal((read.labels | read.truth)[name], values)
    assert [path.name for path in tmp_path.iterdir()] == ["merger.npz"]


def test_stamp_set_load__errors(tmp_path):
    with pytest.raises(InputError, match="no stamps at .*simulate them first"):
        StampSet.load(tmp_path / "none.npz")
    np.savez(tmp_path / "other.npz", a=np.zeros(2))
    with pytest.raises(InputError, match=r"is no set of stamps: it holds \['a'\]"):
        StampSet.load(tmp_path / "other.npz")


def test_simulate_stamps__errors():
    with pytest.raises(ConfigError, match="unknown task 'galaxies': choose one of"):
        simulate_stamps("galaxies", 2, seed=1)
    with pytest.raises(ConfigError, match="unknown observing conditions 'hst'"):
        simulate_stamps("lens", 2, seed=1, conditions="hst")
    with pytest.raises(ConfigError, match="n=0, seed=1, n_workers=1"):
        simulate_stamps("lens", 0, seed=1)
