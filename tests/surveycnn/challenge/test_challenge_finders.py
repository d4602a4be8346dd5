"""Finders side by side, and scores that are kept exactly as long as finder and stamps stay what they are."""

import dataclasses
import shutil

import numpy as np
import pytest
import yaml

from surveycnn.challenge import finders
from surveycnn.challenge.finders import MethodFinder, ModelFinder, Scores, digest_of_set, kept_scores
from surveycnn.models.package import package_folder
from surveycnn.training.reliability import calibration_error_at_prior


class Counting:
    """A finder that counts the stamps it has scored."""

    name, key = "counting", "a"
    n = 0

    def score(self, stamps: np.ndarray) -> Scores:
        self.n += len(stamps)
        total = stamps.sum(axis=(1, 2, 3)).astype(float)
        return Scores(total, total / 10)


@pytest.fixture
def brightness(zoo, make_set, tmp_path):
    """Function that makes the finder of a tiny method."""

    def make(seed: int = 1):
        method = zoo["brightness"]()
        return MethodFinder(method, make_set(200, seed, 0.5), make_set(400, 2, 0.4), folder=tmp_path, seed=seed, log=print)

    return make


def test_kept_scores__come_from_disk_the_second_time(make_set, tmp_path):
    data, finder = make_set(50, 1), Counting()
    first, second = (kept_scores(finder, data, tmp_path) for _ in range(2))
    assert finder.n == 50
    assert np.array_equal(first.logit, second.logit) and np.array_equal(first.score, second.score)
    assert len(list(tmp_path.iterdir())) == 1


def test_kept_scores__are_made_again_for_another_finder_or_set(make_set, tmp_path):
    data, finder = make_set(50, 1), Counting()
    kept_scores(finder, data, tmp_path)
    kept_scores(finder, make_set(50, 2), tmp_path)
    assert finder.n == 100
    finder.key = "b"
    kept_scores(finder, data, tmp_path)
    assert finder.n == 150


def test_kept_scores__of_pieces_are_those_of_the_whole(make_set, tmp_path, monkeypatch):
    data = make_set(25, 1)
    whole = kept_scores(Counting(), data, tmp_path / "whole")
    monkeypatch.setattr(finders, "pieces", lambda data: (data.stamps[start : start + 7] for start in range(0, 25, 7)))
    assert np.array_equal(whole.logit, kept_scores(Counting(), data, tmp_path / "pieces").logit)


def test_digest_of_set__sees_labels_truth_and_pixels(make_set):
    data = make_set(300, 1)
    changed = [
        make_set(300, 2),
        dataclasses.replace(data, stamps=data.stamps[:-1]),
        dataclasses.replace(data, stamps=data.stamps + 1),
        dataclasses.replace(data, labels={"is_lens": ~data.labels["is_lens"]}),
        dataclasses.replace(data, truth=data.truth | {"theta_e": np.zeros(300)}),
    ]
    assert len({digest_of_set(each) for each in (data, *changed)}) == 6
    assert digest_of_set(make_set(300, 1)) == digest_of_set(data)


def test_method_finder__is_calibrated_on_the_validation_set(brightness, make_set):
    finder = brightness()
    valid = make_set(400, 2, 0.4)
    assert finder.prior == valid.labels["is_lens"].mean()
    scores = finder.score(valid.stamps)
    assert np.all(np.diff(scores.score[np.argsort(scores.logit)]) >= 0) or np.all(
        np.diff(scores.score[np.argsort(-scores.logit)]) >= 0
    )
    assert scores.score.mean() == pytest.approx(finder.prior, abs=0.01)
    assert calibration_error_at_prior(scores.score, valid.labels["is_lens"], finder.prior) < 0.1


def test_method_finder__its_key_follows_from_what_it_has_learned(brightness, tmp_path):
    first = brightness().key
    assert brightness().key == first
    np.save(tmp_path / "mean.npy", 7.0)
    assert brightness().key != first


def test_method_finder__of_a_method_without_scores(zoo, make_set, tmp_path):
    data = make_set(60, 1, 0.5)
    finder = MethodFinder(zoo["nothing"](), data, data, folder=tmp_path, seed=1, log=print)
    assert np.isnan(finder.score(data.stamps).score).all()


def test_model_finder__gives_what_the_predictor_gives_and_nan_without_data():
    finder = ModelFinder("lens")
    stamps = np.random.default_rng(0).normal(0, 3, (3, 64, 64, 3)).astype(np.float32)
    stamps[2] = np.nan
    found = finder.score(stamps)
    assert np.isfinite(found.logit[:2]).all() and np.isnan(found.logit[2]) and np.isnan(found.score[2])
    assert 0 < finder.prior < 1 and "weights" in finder.title


def test_model_finder__of_a_changed_card_has_another_key(tmp_path):
    folder = shutil.copytree(package_folder("lens"), tmp_path / "mine")
    card = yaml.safe_load((folder / "card.yaml").read_text())
    (folder / "card.yaml").write_text(yaml.safe_dump(card | {"version": "9.9.9"}))
    assert ModelFinder(str(folder)).key != ModelFinder("lens").key
