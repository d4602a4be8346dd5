"""Hard negatives: what is taken from simulated mosaics, and how it joins the training set."""

import numpy as np
import pytest

from surveycnn.models.card import Card, Scaling, Training
from surveycnn.simulation.candidates import detected_stamps
from surveycnn.training.committee import further_stamps
from surveycnn.training.data import LabelledStamps, batches, joined, read_set, write_parts, write_set
from surveycnn.training.first_card import first_card
from surveycnn.training.held_out import HELD_OUT_SEED, held_out_sets
from surveycnn.training.mining import SEED_OFFSET, hardest, mosaic_objects
from surveycnn.training.plan import Plan


def numbered(n, start=0):
    """A set whose stamps hold their own number."""
    values = np.arange(start, start + n, dtype=np.float32)
    return LabelledStamps(
        "lens", ("g",), np.tile(values[:, None, None, None], (1, 8, 8, 1)), {"is_lens": values % 2 == 0}, {"mag_i": values}
    )


def test_hardest__highest_scores_first():
    chosen = hardest(numbered(40), lambda stamps: -np.abs(stamps[:, 0, 0, 0] - 17.2), share=0.1)
    np.testing.assert_array_equal(chosen.truth["mag_i"], [17, 18, 16, 19])
    np.testing.assert_array_equal(chosen.stamps[:, 3, 3, 0], [17, 18, 16, 19])
    np.testing.assert_array_equal(chosen.labels["is_lens"], [False, True, True, False])


def test_joined__reads_where_the_parts_lie():
    parts = [numbered(5), numbered(3, 100), numbered(4, 200)]
    whole = joined(parts)
    expected = np.concatenate([part.stamps for part in parts])
    assert len(whole) == 12 and whole.stamps.shape == (12, 8, 8, 1)
    np.testing.assert_array_equal(whole.stamps[:7], expected[:7])
    np.testing.assert_array_equal(whole.stamps[np.array([0, 4, 5, 11])], expected[[0, 4, 5, 11]])
    np.testing.assert_array_equal(whole.truth["mag_i"], expected[:, 0, 0, 0])


def test_joined__batches_of_it_are_those_of_one_array():
    part, other = numbered(20), numbered(12, 50)
    whole = joined([part, other])
    copy = LabelledStamps("lens", ("g",), np.concatenate([part.stamps, other.stamps]), whole.labels, whole.truth)
    training = Training(simulation="none", seed=0, n=0, command="none")
    card = Card.model_validate(
        {
            **{"name": "lens", "version": "1", "task": "lens", "bands": ["g"], "pixel_scale": 0.2, "stamp_px": 8},
            **{"scaling": Scaling(softening={"g": 1.0}), "prior": {"training": 0.5, "survey": 0.1}, "calibration": {}},
            **{"training": training, "licence": "BSD-3-Clause", "keras": "3"},
        }
    )
    one, two = (batches(data, card, batch_size=8, seed=3) for data in (whole, copy))
    for index in range(len(one)):
        for left, right in zip(one[index], two[index], strict=True):
            np.testing.assert_array_equal(left, right)


def test_write_parts__same_as_in_one_piece(tmp_path):
    data = numbered(11)
    write_set(tmp_path / "whole", data)
    pieces = [(0, 4), (4, 9), (9, 11)]

    def part(start, stop):
        columns = [{name: values[start:stop] for name, values in kind.items()} for kind in (data.labels, data.truth)]
        return data.task, data.bands, data.stamps[start:stop], *columns

    write_parts(tmp_path / "pieces", 11, (part(*piece) for piece in pieces))
    whole, pieced = (read_set(tmp_path / name) for name in ("whole", "pieces"))
    np.testing.assert_array_equal(whole.stamps, pieced.stamps)
    for name in data.truth:
        np.testing.assert_array_equal(whole.truth[name], pieced.truth[name])


@pytest.mark.parametrize("task", ["lens", "merger"])
def test_detected_stamps__objects_of_a_mosaic_none_of_them_a_positive(task):
    found = detected_stamps(task, 5, 0, "lsst", side=400)
    assert len(found) > 5 and found.stamps.shape[1:] == (64, 64, 3) and not found.labels[f"is_{task}"].any()
    again = detected_stamps(task, 5, 0, "lsst", side=400)
    np.testing.assert_array_equal(found.stamps, again.stamps)
    # each has its light in the middle
    middle = np.nansum(found.stamps[:, 22:42, 22:42], axis=(1, 2, 3))
    assert (middle > 0).all()


def test_mosaic_objects__kept_on_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("surveycnn.simulation.candidates.detected_stamps.__defaults__", (400,))
    settings = {"seed": 5, "conditions": "lsst", "folder": tmp_path, "n_workers": 1}
    lines = []
    first = mosaic_objects("lens", 1, **settings, log=lines.append)
    second = mosaic_objects("lens", 1, **settings, log=lines.append)
    assert len(lines) == 1 and "lens: simulating 1 mosaics without any" in lines[0]
    np.testing.assert_array_equal(first.stamps, second.stamps)


def test_held_out_sets__four_streams_of_their_own(tmp_path):
    plan = Plan("lens", 16, 16, 12, 1, 1, 8, "wide", n_hard=6)
    sets = held_out_sets(plan, tmp_path, 1, lambda line: None)
    assert list(sets) == ["", "hard_", "shifted_", "shifted_hard_"]
    assert [len(held.data) for held in sets.values()] == [12, 6, 6, 6]
    assert sorted(path.name for path in tmp_path.iterdir())[0] == f"lens-hard-shifted-seed{HELD_OUT_SEED + 3}-n6"


def test_further_stamps__disks_or_none(blobs, tmp_path):
    plan = Plan("morphology", 16, 16, 16, 1, 1, 8, "wide", n_disks=16)
    card = first_card(plan, blobs("morphology", 16, 0, 32))
    (disks,) = further_stamps(plan, card, None, tmp_path / "fit", lambda line: None, "test")
    assert len(disks) == 16 and set(disks.truth["kind"]) == {"disk"} and (disks.truth["radius"] > 1.0).all()
    assert disks.labels["smooth_or_featured"].sum(axis=1).min() > 15 and disks.truth["inclination"].max() <= 70.0
    assert [path.name for path in (tmp_path / "stamps").iterdir()] == [f"morphology-disks-wide-seed{1 + SEED_OFFSET}-n16"]
    plain = Plan("morphology", 16, 16, 16, 1, 1, 8, "wide")
    assert further_stamps(plain, card, None, tmp_path / "fit", lambda line: None, "test") is None


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("merger", {"": ("train", 6), "shifted_": ("train", 3), "population_": ("population", 2)}),
        ("morphology", {"": ("train", 6), "shifted_": ("train", 3)}),
    ],
)
def test_held_out_sets__of_other_tasks(task, expected, tmp_path):
    sets = held_out_sets(Plan(task, 16, 16, 6, 1, 1, 8, "wide"), tmp_path, 1, lambda line: None)
    assert {prefix: (held.mix, len(held.data)) for prefix, held in sets.items()} == expected
