"""What `benchmarks/photoz_tables.py` computes and writes, on PDFs and tables made here: no real table is needed."""

import subprocess
import sys
from dataclasses import replace

import h5py
import numpy as np
import pytest
from matplotlib.image import imread
from scipy.stats import norm

from benchmarks import (
    photoz_tables,
    photoz_tables_data,
    photoz_tables_methods,
    photoz_tables_page,
    photoz_tables_rail,
    photoz_tables_score,
    photoz_tables_speed,
)
from surveycnn.training.redshift_metrics import redshift_metrics

GRID = np.linspace(-0.5, 2.0, 1251)
BANDS = ("g", "r", "i")


def make_mixtures(n=400, k=4, narrowest=0.01):
    rng = np.random.default_rng(5)
    weight, mean, sigma = rng.dirichlet(np.ones(k), n), rng.uniform(0.1, 1.5, (n, k)), rng.uniform(narrowest, 0.1, (n, k))
    chosen = (rng.random(n)[:, None] > np.cumsum(weight, axis=1)).sum(axis=1).clip(max=k - 1)
    rows = np.arange(n)
    return rng.normal(mean[rows, chosen], sigma[rows, chosen]), weight, mean, sigma


def make_half(n, seed):
    rng = np.random.default_rng(seed)
    redshift = rng.uniform(0.1, 1.2, n)
    mag = np.column_stack([22 + 2 * redshift, 21.5 + redshift, 21 + 0.5 * redshift]) + rng.normal(0, 0.05, (n, 3))
    mag[:3, 0] = photoz_tables_data.NOT_DETECTED
    return photoz_tables_data.Half(mag, np.full((n, 3), 0.05), redshift)


def make_sample(n=300):
    limits = dict.fromkeys(BANDS, 26.0)
    return photoz_tables_data.Sample("toy", "toy table", BANDS, make_half(n, 1), make_half(n, 2), limits, "i", 1.5, GRID)


def test_gridded_metrics__closed_forms_of_mixtures():
    z, weight, mean, sigma = make_mixtures()
    mixtures = (weight, mean, sigma)
    found = photoz_tables_score.gridded_metrics(
        z, GRID, lambda some: photoz_tables_methods.mixture_densities(GRID, *(part[some] for part in mixtures))
    )
    exact = redshift_metrics(z, *mixtures)
    for name in ("bias", "bias_median", "sigma_nmad", "eta_0.05", "eta_0.15", "crps", "pit_ks", "coverage_68", "coverage_90"):
        assert found[name] == pytest.approx(exact[name].value, abs=1e-3), name
    assert found["cde_loss"] == pytest.approx(exact["cde_loss"].value, abs=1e-2)


def test_gridded_scores__densities_linear_between_the_nodes_exactly():
    z = np.array([0.513, 0.25, 0.9])
    triangle = np.maximum(0, 1 - np.abs(GRID - 0.5) / 0.5)
    found = photoz_tables_score.gridded_scores(z, GRID, lambda some: np.tile(7 * triangle, (len(z[some]), 1)))
    assert found["z_phot"] == pytest.approx(0.5)
    below = np.where(z < 0.5, 2 * z**2, 1 - 2 * (1 - z) ** 2)
    assert found["pit"] == pytest.approx(below)
    density = np.where(z < 0.5, 4 * z, 4 * (1 - z))
    assert found["cde_loss"] == pytest.approx(4 / 3 - 2 * density)


def test_gridded_scores__crps_of_gaussians():
    z, sigma = np.array([0.3, 0.6, 1.1]), 0.05
    found = photoz_tables_score.gridded_scores(z, GRID, lambda some: np.tile(norm.pdf(GRID, 0.6, sigma), (len(z[some]), 1)))
    t = (z - 0.6) / sigma
    exact = sigma * (t * (2 * norm.cdf(t) - 1) + 2 * norm.pdf(t) - 1 / np.sqrt(np.pi))
    assert found["crps"] == pytest.approx(exact, abs=1e-5)


def test_kernel_density__mean_and_width():
    counts = np.zeros((2, len(GRID)))
    counts[0, [500, 520, 540]] = 1 / 3
    counts[1, 600] = 1
    step = GRID[1] - GRID[0]
    density = photoz_tables_methods.kernel_density(counts, np.array([3.0, 1.0]), step)
    assert density.sum(axis=1) * step == pytest.approx(1)
    assert (density * GRID).sum(axis=1) * step == pytest.approx([GRID[520], GRID[600]])
    width = np.sqrt((density[1] * (GRID - GRID[600]) ** 2).sum() * step)
    assert width == pytest.approx(photoz_tables_methods.LEAST_BANDWIDTH * step, rel=1e-3)


@pytest.mark.parametrize(
    "method", [photoz_tables_methods.nearest_neighbours, lambda sample: photoz_tables_methods.random_forest(sample, 1)]
)
def test_methods__find_redshifts(method):
    sample = make_sample()
    result = method(sample)
    metrics = photoz_tables_score.gridded_metrics(sample.test.redshift, GRID, result.densities)
    assert metrics["sigma_nmad"] < 0.05
    assert 0.5 < metrics["coverage_68"] < 0.95
    assert abs(metrics["bias"]) < 0.02


def test_read_sdss__error_of_u_comes_first(tmp_path):
    rng = np.random.default_rng(1)
    rows = np.column_stack([rng.uniform(0.05, 0.27, 20), rng.uniform(16, 20, (20, 9)), np.tile(np.arange(1.0, 10), (20, 1))])
    for half in ("train", "test"):
        np.savetxt(tmp_path / f"SDSS_MGS.{half}", rows, header="zs u g r i z u-g g-r r-i i-z eg er ei ez eu-g eg-r er-i ei-z")
    sample = photoz_tables_data.read_sdss(tmp_path)
    assert sample.train.mag_err[0] == pytest.approx([1, 2, 3, 4, 5])
    assert sample.train.mag == pytest.approx(rows[:, 1:6])
    assert sample.z_max >= 1.1 * sample.train.redshift.max()


def test_read_dc2__and_limits_for_non_detections(tmp_path):
    for half in ("training", "validation"):
        with h5py.File(tmp_path / f"test_dc2_{half}_9816.hdf5", "w") as file:
            for number, band in enumerate("ugrizy"):
                file[f"photometry/mag_{band}_lsst"] = np.array([20.0 + number, 99.0], "f4")
                file[f"photometry/mag_err_{band}_lsst"] = np.array([0.1, 0.2], "f4")
            file["photometry/redshift"] = np.array([0.5, 1.0])
    sample = photoz_tables_data.read_dc2(tmp_path)
    assert sample.magnitudes(sample.test)[0] == pytest.approx([20, 21, 22, 23, 24, 25])
    assert sample.magnitudes(sample.test)[1, 0] == sample.limits["u"]
    written = photoz_tables_data.write_hdf5(photoz_tables_data.columns_of(sample, sample.train), tmp_path / "train.hdf5")
    with h5py.File(written) as file:
        assert set(file["photometry"]) == {"redshift", *(f"mag_{b}" for b in "ugrizy"), *(f"mag_err_{b}" for b in "ugrizy")}


def test_settings_of__tell_the_table_alone():
    settings = photoz_tables_rail.settings_of(make_sample())
    assert settings["bands"] == ["mag_g", "mag_r", "mag_i"]
    assert settings["mag_limits"] == {"mag_g": 26.0, "mag_r": 26.0, "mag_i": 26.0}
    assert (settings["zmax"], settings["ref_band"]) == (1.5, "mag_i")


def test_many_rows__one_more_band_between_each_two():
    bands, columns = photoz_tables_speed.many_rows(make_sample(), 1000, 3)
    assert bands == ("g", "r", "i", "gr", "ri")
    assert all(len(values) == 1000 for values in columns.values())
    seen = columns["mag_gr"] < 90
    assert 0.9 < seen.mean() < 1
    assert (columns["mag_g"][~seen] == photoz_tables_data.NOT_DETECTED).all()
    assert np.median(columns["mag_gr"][seen] - (columns["mag_g"] + columns["mag_r"])[seen] / 2) == pytest.approx(0, abs=0.02)


def make_row(title, crps):
    metrics = dict.fromkeys(photoz_tables_page.SHOWN, 0.1) | {"crps": crps, "eta_0.15": 0.0236}
    return {"title": title, "version": "toy 1.0", "fit_s": 12.3, "predict_s": 0.25, "metrics": metrics}


def test_page__rows_by_crps_and_what_is_missing():
    ours = make_row("ours", 0.03) | {"closed_form": {"crps": 0.030001}}
    rows = {"other": make_row("other", 0.04), "ours": ours, "slow": {"title": "slow", "error": "stopped after 360 s of CPU"}}
    grid = {"first": -0.5, "last": 2.0, "n": 1251, "step": 0.002}
    sample = {"title": "toy table", "n_train": 10225, "n_test": 20449, "grid": grid, "rows": rows, "figure": "toy.png"}
    told = {"command": "x", "machine": "a machine", "seed": 1, "versions": {"numpy": "2.0"}, "samples": {"toy": sample}}
    text = photoz_tables_page.page(told)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert [line.split("|")[1].strip() for line in lines] == ["method", "---", "ours", "other"]
    assert "| ours | 0.1000 | 2.36 |" in text
    assert "10,225 rows to train on, 20,449 to score on. Grid of 1251 redshifts from -0.5 to 2 in steps of 0.002." in text
    assert "crps 0.03000 / 0.03000" in text
    assert "Without a result: slow (stopped after 360 s of CPU)." in text
    assert "![toy table](toy.png)" in text


def test_draw__one_column_for_each_method(tmp_path):
    z, *mixtures = make_mixtures(100)
    scores = {"z_phot": z + 0.01, "pit": np.linspace(0.01, 0.99, len(z))}
    photoz_tables_page.draw({"a": scores, "b": scores}, z, "toy", tmp_path / "toy.png")
    assert imread(tmp_path / "toy.png").shape[:2] == (660, 840)


def test_kept_or_run__kept_unless_asked_again(tmp_path):
    sample, runs = make_sample(), []
    given = photoz_tables.arguments().parse_args(["--data", str(tmp_path)])

    def method():
        runs.append(1)
        return photoz_tables_methods.nearest_neighbours(sample)

    first = photoz_tables.kept_or_run(tmp_path / "row", method, sample, given, again=False)
    kept = photoz_tables.kept_or_run(tmp_path / "row", method, sample, given, again=False)
    assert len(runs) == 1
    assert kept[0] == first[0]
    assert kept[1]["pit"] == pytest.approx(first[1]["pit"])
    photoz_tables.kept_or_run(tmp_path / "row", method, sample, given, again=True)
    assert len(runs) == 2


def test_kept_or_run__failure_is_a_row(tmp_path):
    given = photoz_tables.arguments().parse_args(["--data", str(tmp_path), "--limit", "7"])

    def stopped():
        subprocess.run([sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGXCPU)"], check=True)

    def broken():
        subprocess.run([sys.executable, "-c", "raise SystemExit(3)"], check=True)

    assert photoz_tables.kept_or_run(tmp_path / "slow_row", stopped, make_sample(), given, again=True)[0] == {
        "title": "slow",
        "error": "stopped after 7 s of CPU",
    }
    assert photoz_tables.kept_or_run(tmp_path / "bad_row", broken, make_sample(), given, again=True)[0]["error"] == "exit code 3"


def test_main__unknown_row(tmp_path, monkeypatch, capsys):
    sample = replace(make_sample(), name="dc2")
    monkeypatch.setattr(photoz_tables, "READERS", {"photoz_dc2": lambda folder: sample})
    command = ["photoz_tables", "--data", str(tmp_path), "-o", str(tmp_path), "--work", str(tmp_path), "--rows", "nonsense"]
    monkeypatch.setattr(sys, "argv", command)
    assert photoz_tables.main() == 2
    assert "unknown rows nonsense: expected some of surveycnn, knn, random_forest" in capsys.readouterr().err


def test_main__two_rows_and_the_page(tmp_path, monkeypatch):
    monkeypatch.setattr(photoz_tables, "READERS", {"photoz_dc2": lambda folder: make_sample()})
    command = ["photoz_tables", "--data", str(tmp_path), "-o", str(tmp_path / "out"), "--work", str(tmp_path / "work")]
    monkeypatch.setattr(sys, "argv", [*command, "--rows", "knn", "random_forest"])
    assert photoz_tables.main() == 0
    text = (tmp_path / "out" / "photoz_tables.md").read_text()
    assert "| k nearest neighbours, k = 15 |" in text
    assert "scikit-learn " in text
    assert (tmp_path / "out" / "photoz_tables.json").exists()
