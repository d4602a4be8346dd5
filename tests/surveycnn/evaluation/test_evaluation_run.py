"""Whole evaluations of the shipped morphology model on some dozen stamps, beside a method that is trained in no time."""

import json
from pathlib import Path

import numpy as np
import pytest
import qp

from surveycnn.cli import main
from surveycnn.evaluation import run
from surveycnn.evaluation.config import EvaluateConfig
from surveycnn.evaluation.run import run_evaluate
from surveycnn.models.morphology import QUESTIONS
from surveycnn.training.data import LabelledStamps

SMALL = {"model": "morphology", "n": 40, "n_train": 16, "n_valid": 16, "n_workers": 1, "engine": "tensorflow"}


class Average:
    """A method that answers what the training set answered on average."""

    name, title, reference, task, mix = "average", "mean votes", "nobody et al.", "morphology", "train"
    n_learned, n_passes, n_weights = 16, None, None
    fits = predictions = 0

    def fit(self, train, valid, *, folder: Path, seed: int, log) -> None:
        path = folder / "fitted.npz"
        if not path.is_file():
            type(self).fits += 1
            votes = [1 + train.labels[question].sum(axis=0) for question in QUESTIONS]
            np.savez(path, mean=np.concatenate([counts / counts.sum() for counts in votes]))
        with np.load(path) as arrays:
            self.mean = arrays["mean"]
        (folder / f"measured-{Average.predictions}.npy").write_text("what a method keeps for speed")

    def predict(self, stamps: np.ndarray) -> np.ndarray:
        type(self).predictions += 1
        return np.tile(self.mean, (len(stamps), 1))


class Everybody:
    """A method that gives every galaxy the redshifts of the training set, as a histogram."""

    name, title, reference, task, mix = "everybody", "redshifts of all", "nobody et al.", "photoz", "train"

    def fit(self, train, valid, *, folder: Path, seed: int, log) -> None:
        self.counts, self.edges = np.histogram(train.labels["redshift"], np.linspace(0, 3, 13))
        np.savez(folder / "fitted.npz", counts=self.counts)

    def predict(self, stamps: np.ndarray) -> dict[str, np.ndarray]:
        return {"pz_probability": np.tile(self.counts / self.counts.sum(), (len(stamps), 1)), "pz_edges": self.edges}


@pytest.fixture
def methods(monkeypatch):
    """The methods of the literature replaced by a tiny one."""
    monkeypatch.setattr("surveycnn.evaluation.methods.METHODS", {"average": Average})
    Average.fits = Average.predictions = 0


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """Work folder whose stamps and predictions all evaluations of this module share."""
    return tmp_path_factory.mktemp("evaluation")


def without_paths(record: dict) -> dict:
    settings = {key: value for key, value in record["config"].items() if key not in ("output", "work_dir")}
    return record | {"config": settings, "output": ""}


def test_run_evaluate__resumed_is_uninterrupted(methods, work, tmp_path, monkeypatch):
    config = EvaluateConfig(**SMALL, output=str(tmp_path / "a"), work_dir=str(work), methods=None, shifted=False)

    def interrupted(self, stamps):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Average, "predict", interrupted)
        run_evaluate(config)
    assert not Path(config.output).exists() and Average.fits == 1
    resumed = run_evaluate(config)
    kept = {path: path.stat().st_mtime_ns for path in work.rglob("*.npz")}
    again = run_evaluate(config.model_copy(update={"output": str(tmp_path / "b")}))
    assert without_paths(again.record) == without_paths(resumed.record)
    assert {path: path.stat().st_mtime_ns for path in work.rglob("*.npz")} == kept
    assert (Average.fits, Average.predictions) == (1, 1)
    assert list(resumed.record["tasks"]["morphology"]["entries"]) == ["morphology", "average"]
    assert resumed.metrics("average")["fraction_error"].value > resumed.metrics("morphology")["fraction_error"].value
    assert json.loads((tmp_path / "a" / "evaluation.json").read_text()) == resumed.record
    run_evaluate(config.model_copy(update={"n": 16}), fresh=True)
    assert Average.fits == 2, "fresh forgets"


def test_run_flow__evaluate_prints_the_metrics_and_replaces_its_own_pictures(tmp_path, capsys):
    output = tmp_path / "out"
    output.mkdir()
    (output / "evaluation.json").write_text("{}")
    for name in ("lens_confusion.png", "photoz_pdf.hdf5"):
        (output / name).write_text("of an earlier evaluation")
    settings = {"model": "morphology", "n": 72, "seed": 1000, "output": output, "n_workers": 1}
    arguments = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    assert main(["run-flow", "evaluate", "--no-prefect", *arguments]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("model morphology\n") and "smooth_or_featured_fraction_error = " in printed.out
    assert "shifted: fraction error" in printed.out and f"tables and pictures in {output}" in printed.out
    assert {path.name for path in output.iterdir()} == {
        "evaluation.json",
        "evaluation.md",
        "morphology_reliability.png",
        "morphology_confusion.png",
        "work",
    }


def test_run_evaluate__hard_mix_of_lenses(tmp_path):
    config = EvaluateConfig(
        model="lens", n=48, seed=900, mix="hard", output=str(tmp_path), engine="tensorflow", n_workers=1, shifted=False
    )
    metrics = run_evaluate(config).metrics("lens")
    assert metrics["auroc"].value > 0.6 and "re-arranged without lensing" in metrics["auroc"].definition
    assert "tpr10" not in metrics


def test_run_evaluate__redshifts_of_a_model_and_of_histograms(tmp_path, monkeypatch):
    monkeypatch.setattr("surveycnn.evaluation.methods.METHODS", {"everybody": Everybody})
    monkeypatch.setattr("surveycnn.evaluation.entries.pieces", lambda data: [data.stamps[:15], data.stamps[15:]])
    work = {"work_dir": str(tmp_path / "work"), "methods": None, "shifted": False}
    config = EvaluateConfig(**SMALL | {"model": "photoz", "n": 24}, **work, output=str(tmp_path / "a"))
    found = run_evaluate(config)
    assert found.metrics("photoz")["crps"].value < found.metrics("everybody")["crps"].value
    assert found.metrics("photoz").keys() == found.metrics("everybody").keys() and found.metrics("everybody")["crps"].n == 24
    names = {path.name for path in (tmp_path / "a").iterdir()}
    assert {"photoz_reliability.png", "photoz_confusion.png", "photoz_nz.png", "photoz_pdf.hdf5"} < names
    ensemble = qp.read(str(tmp_path / "a" / "photoz_pdf.hdf5"))
    assert ensemble.npdf == 24 and set(ensemble.ancil) == {"object", "z_true", "z_phot"}
    np.testing.assert_allclose(ensemble.cdf(ensemble.ancil["z_phot"][:, None]), 0.5, atol=1e-5)


def test_ensemble__without_qp(monkeypatch):
    lines: list[str] = []
    monkeypatch.setattr(run, "is_qp_there", lambda: False)
    assert run._ensemble({}, LabelledStamps("photoz", ("g",), np.zeros((0, 4, 4, 1))), lines.append) == {}
    assert lines == ["qp is not installed, photoz_pdf.hdf5 is not written: pip install 'surveycnn[qp]'"]
