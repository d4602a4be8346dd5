"""Fit and predictions of photo-z models for tables: truth, invariances, what is missing, and what is refused."""

import dataclasses
import shutil

import numpy as np
import pytest
import yaml

from surveycnn.cli import main
from surveycnn.errors import InputError, ModelError
from surveycnn.inference import mixture
from surveycnn.models.backend import import_keras
from surveycnn.photoz.card import FitSettings, read_table_card
from surveycnn.photoz.committee import COMPONENTS
from surveycnn.photoz.features import features_of
from surveycnn.photoz.fit import MIN_ROWS, fit_photoz, pace_of
from surveycnn.photoz.network import mean_mixture
from surveycnn.photoz.package import CHUNK, check_photoz
from surveycnn.photoz.predict import load_photoz
from surveycnn.photoz.tables import Photometry

PARTS = ("pz_weight", "pz_mean", "pz_sigma")


def some(photometry, members):
    return Photometry(photometry.bands, photometry.flux[members], photometry.flux_err[members])


def crps_of_all_alike(redshift, true):
    """Mean CRPS where each galaxy gets the distribution of all redshifts."""
    spread = np.abs(redshift[:, None] - redshift[None, :]).mean() / 2
    return float(np.abs(redshift[:, None] - true[None, :]).mean() - spread)


def test_fit__learns_more_than_the_distribution_of_redshifts(fitted, table):
    folder, card = fitted
    photometry, redshift = table(800, 2)
    found = load_photoz(folder).predict(photometry)
    crps = mixture.crps(redshift, *(found[name].astype(float) for name in PARTS)).mean()
    assert crps < 0.5 * crps_of_all_alike(table(1500, 1)[1], redshift)
    pit = mixture.cdf(redshift, *(found[name].astype(float) for name in PARTS))
    assert 0.4 < pit.mean() < 0.6
    assert np.all(found["z_phot_lo"] < found["z_phot"]) and np.all(found["z_phot"] < found["z_phot_hi"])
    assert card.n_train + card.n_valid == 1500 and card.metrics["crps"].n == card.n_valid == 300


def test_predict__median_mode_and_quantiles_are_those_of_the_published_mixture(fitted, table):
    found = load_photoz(fitted[0]).predict(table(50, 3)[0])
    parts = [found[name].astype(np.float64) for name in PARTS]
    np.testing.assert_allclose(parts[0].sum(axis=1), 1, atol=1e-6)
    for name, q in (("z_phot_lo", 0.16), ("z_phot", 0.5), ("z_phot_hi", 0.84)):
        np.testing.assert_allclose(mixture.cdf(found[name].astype(np.float64), *parts), q, atol=1e-4)
    grid = np.linspace(0, 5, 5001)
    density = np.stack([mixture.pdf(np.full(50, z), *parts) for z in grid], axis=1)
    highest = mixture.pdf(found["z_mode"].astype(np.float64), *parts)
    assert np.all(highest >= density.max(axis=1) * (1 - 1e-3))


def test_predict__rows_depend_on_themselves_alone(fitted, table):
    model = load_photoz(fitted[0])
    photometry = table(CHUNK + 300, 5)[0]
    whole = model.predict(photometry)
    order = np.random.default_rng(0).permutation(len(photometry))
    for members, threads in ((order, 1), (order[:7], 2)):
        part = model.predict(some(photometry, members), n_threads=threads)
        for name, values in whole.items():
            np.testing.assert_allclose(part[name], values[members], rtol=2e-4, atol=2e-5)


def test_predict__without_rows(fitted):
    found = load_photoz(fitted[0]).predict(Photometry(("g", "r", "i"), np.zeros((0, 3)), np.zeros((0, 3))))
    assert found["z_phot"].shape == (0,) and found["pz_weight"].shape[0] == 0


def test_predict__needs_no_keras(fitted, table):
    import subprocess
    import sys

    code = (
        f"import sys; from surveycnn.photoz.predict import load_photoz; load_photoz({str(fitted[0])!r});"
        "print({'keras', 'tensorflow', 'openvino'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "set()\n"


def test_package__numpy_gives_what_keras_gives(fitted):
    folder, card = fitted
    keras_model = import_keras().saving.load_model(folder / "model.keras", compile=False, safe_mode=True)
    with np.load(folder / "golden.npz") as golden:
        raw = load_photoz(folder).predict_raw(golden["flux"], golden["flux_err"])
        np.testing.assert_allclose(raw, golden["raw"], atol=1e-4, rtol=1e-4)
        features = features_of(golden["flux"], golden["flux_err"], card.scaling, tuple(card.bands))
        np.testing.assert_allclose(np.asarray(keras_model(features)), raw.reshape(len(raw), -1), atol=1e-4, rtol=1e-4)
    assert raw.shape[1:] == (card.settings.members, 3 * COMPONENTS)


def test_mean_mixture__is_the_mean_of_the_members_and_few_gaussians_carry_it():
    raw = np.random.default_rng(0).normal(0.5, 1, (30, 3, 24))
    z = np.linspace(0.1, 3, 30)
    members = [mixture.pdf(z, *mean_mixture(raw[:, [k]], 1.2, 0.7, 8)) for k in range(3)]
    np.testing.assert_allclose(mixture.pdf(z, *mean_mixture(raw, 1.2, 0.7, 24)), np.mean(members, axis=0))
    assert mean_mixture(raw[:, :1], 1.2, 0.7, 16)[0].shape == (30, 8)
    weight, mean, sigma = mean_mixture(raw, 1.2, 0.7, 5)
    assert weight.shape == mean.shape == sigma.shape == (30, 5) and np.all(np.diff(weight, axis=1) <= 0)
    np.testing.assert_allclose(weight.sum(axis=1), 1)


def test_fit__the_unit_of_the_fluxes_does_not_matter_and_a_fit_repeats(fitted, table, tmp_path):
    photometry, redshift = table(1500, 1)
    large = Photometry(photometry.bands, 1000 * photometry.flux, 1000 * photometry.flux_err)
    settings = fitted[1].settings.model_copy(update={"epochs": 2})
    quiet = {"settings": settings, "log": lambda text: None}
    fit_photoz(photometry, redshift, tmp_path / "small", **quiet)
    fit_photoz(large, redshift, tmp_path / "large", **quiet)
    first = load_photoz(tmp_path / "small").predict(photometry)["z_phot"]
    second = load_photoz(tmp_path / "large").predict(large)["z_phot"]
    np.testing.assert_allclose(second, first, rtol=1e-2)
    fit_photoz(photometry, redshift, tmp_path / "small", **quiet)  # over the older one
    np.testing.assert_allclose(load_photoz(tmp_path / "small").predict(photometry)["z_phot"], first, rtol=1e-3)


def test_predict__missing_bands_and_non_detections(fitted, table):
    model = load_photoz(fitted[0])
    photometry = table(40, 6)[0]
    whole = model.predict(photometry)
    for flux, err in ((np.nan, np.nan), (0.0, np.nan)):
        values, errors = photometry.flux.copy(), photometry.flux_err.copy()
        values[:20, 0], errors[:20, 0] = flux, err
        found = model.predict(Photometry(photometry.bands, values, errors))
        assert np.isfinite(found["z_phot"]).all()
        assert not np.allclose(found["z_phot"][:20], whole["z_phot"][:20], rtol=1e-3)
        np.testing.assert_allclose(found["z_phot"][20:], whole["z_phot"][20:], rtol=1e-5)


def test_predict__no_band_at_all_is_nan(fitted, table):
    photometry = table(3, 7)[0]
    flux = photometry.flux.copy()
    flux[1] = np.nan
    found = load_photoz(fitted[0]).predict(dataclasses.replace(photometry, flux=flux))
    for values in found.values():
        assert np.isnan(values[1]).all() and np.isfinite(values[[0, 2]]).all()


@pytest.mark.parametrize("n", [0, 1, 10, MIN_ROWS - 1])
def test_fit__too_few_rows(table, tmp_path, n):
    photometry, redshift = table(n, 1)
    with pytest.raises(InputError, match=f"the table has {n} rows, but a fit needs at least {MIN_ROWS}"):
        fit_photoz(photometry, redshift, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_fit__refused(table, tmp_path):
    photometry, redshift = table(200, 1)
    blank = photometry.flux.copy()
    blank[:, 1] = np.nan
    with pytest.raises(InputError, match="band 'r' has no measured flux in any of the 200 rows: leave it out"):
        fit_photoz(dataclasses.replace(photometry, flux=blank), redshift, tmp_path / "model")
    with pytest.raises(InputError, match="all 200 redshifts are 0.3: there is nothing to learn"):
        fit_photoz(photometry, np.full(200, 0.3), tmp_path / "model")
    with pytest.raises(InputError, match="the name is '-x', expected at most 64 letters, digits"):
        fit_photoz(photometry, redshift, tmp_path / "model", name="-x")
    with pytest.raises(InputError, match="there are 199 redshifts for 200 rows"):
        fit_photoz(photometry, redshift[:-1], tmp_path / "model")
    assert not list(tmp_path.iterdir())
    (tmp_path / "mine").write_text("notes")
    with pytest.raises(InputError, match="is there and no photo-z model: give another folder, or remove it first"):
        fit_photoz(photometry, redshift, tmp_path)
    assert (tmp_path / "mine").read_text() == "notes"


def test_predict__other_bands(fitted, table):
    photometry = table(5, 1)[0]
    with pytest.raises(InputError, match="the photometry has the bands r, g, i, but the model 'toy' takes g, r, i"):
        load_photoz(fitted[0]).predict(dataclasses.replace(photometry, bands=("r", "g", "i")))


def test_models_check__knows_these_packages(fitted, tmp_path, capsys):
    assert main(["models", "check", str(fitted[0])]) == 0
    assert "card, digests and golden outputs agree" in capsys.readouterr().out
    folder = shutil.copytree(fitted[0], tmp_path / "model")
    (folder / "model.keras").write_bytes(b"no zip")
    assert main(["models", "check", str(folder)]) == 2
    assert "model.keras has sha256" in capsys.readouterr().err


def test_load_photoz__damaged_packages(fitted, tmp_path):
    assert check_photoz(fitted[0]) == []
    with pytest.raises(ModelError, match=r"card\.yaml is missing; fit one with 'surveycnn photoz fit'"):
        load_photoz(tmp_path)
    folder = shutil.copytree(fitted[0], tmp_path / "model")
    (folder / "golden.npz").write_bytes(b"no zip")
    with pytest.raises(ModelError, match=r"is refused: golden\.npz has sha256"):
        load_photoz(folder)
    values = yaml.safe_load((folder / "card.yaml").read_text())
    (folder / "card.yaml").write_text(yaml.safe_dump(values | {"colour": 1}))
    with pytest.raises(ModelError, match=r"colour: unknown key; allowed keys are name, task, bands"):
        read_table_card(folder)
    (folder / "card.yaml").write_text(yaml.safe_dump(values | {"bands": ["g", "g", "i"]}))
    with pytest.raises(ModelError, match="name a band twice"):
        read_table_card(folder)
    (folder / "card.yaml").write_text(yaml.safe_dump(values | {"task": "lens"}))
    with pytest.raises(ModelError, match="is the card of 'lens', expected 'photoz_table'"):
        read_table_card(folder)


def test_pace_of__larger_tables_are_seen_longer_but_passed_fewer_times():
    small, large = pace_of(5_000, FitSettings()), pace_of(160_000, FitSettings())
    assert large.epochs < small.epochs and large.epochs * 160_000 > small.epochs * 10_000
    assert pace_of(200, FitSettings(epochs=3)).epochs == 3 and pace_of(200, FitSettings()).batch_size < 200
