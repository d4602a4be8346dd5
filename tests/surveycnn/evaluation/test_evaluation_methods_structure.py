"""Structural parameters of drawn galaxies."""

from __future__ import annotations

import numpy as np
import pytest

from surveycnn.errors import ConfigError
from surveycnn.evaluation.methods import structure
from surveycnn.evaluation.methods.structure import N_FEATURES, QUANTITIES, measure_image, measure_structure, segments


def drawn(kind: str, seed: int = 0) -> np.ndarray:
    y, x = np.mgrid[:64, :64] - 31.5
    radius = np.hypot(y, x)
    if kind == "disk":
        light = 60 * np.exp(-radius / 5)
    elif kind == "spheroid":
        light = 4000 * np.exp(-7.67 * ((np.hypot(radius, 0.7) / 6) ** 0.25)) * 7
    else:
        light = 60 * np.exp(-radius / 5) + 60 * np.exp(-np.hypot(y - 8, x - 6) / 2)
    return light + np.random.default_rng(seed).normal(0, 1, light.shape)


def value(found: np.ndarray, name: str) -> float:
    return float(found[QUANTITIES.index(name)])


def test_measure_image__tells_kinds_apart():
    disk, spheroid, lopsided = (measure_image(drawn(kind), 1.0) for kind in ("disk", "spheroid", "lopsided"))
    assert np.isfinite(disk).all()
    assert value(spheroid, "concentration") > value(disk, "concentration")
    assert value(lopsided, "asymmetry") > value(disk, "asymmetry") + 0.1
    assert value(disk, "rhalf_ellip") == pytest.approx(1.68 * 5, rel=0.15)
    assert value(disk, "sersic_n") == pytest.approx(1, abs=0.2)
    np.testing.assert_array_equal(measure_image(drawn("disk"), 1.0), disk)  # nothing in it is drawn at random


def test_measure_image__is_nan_where_there_is_no_galaxy():
    for image in (np.zeros((64, 64)), np.full((64, 64), np.nan), -drawn("disk")):
        assert np.isnan(measure_image(image, 1.0)).all()


def test_segments__set_neighbours_apart():
    y, x = np.mgrid[:64, :64] - 31.5
    pixels = 50 * np.exp(-0.5 * (y**2 + x**2) / 9) + 50 * np.exp(-0.5 * ((y - 22) ** 2 + (x - 22) ** 2) / 9)
    own, others = segments(pixels, 1.0)
    assert own[32, 32] and others[53, 53] and not (own & others).any()


def test_measure_structure__is_kept_and_the_same_for_any_number_of_workers(tmp_path, monkeypatch):
    stamps = np.stack([drawn("disk", seed) for seed in range(3)])[..., None] * np.array([0.5, 1, 1.5])
    stamps = stamps.astype(np.float32)
    monkeypatch.setattr(structure, "PIECE", 2)
    first = measure_structure(stamps, tmp_path, n_workers=2)
    assert first.shape == (3, N_FEATURES)
    np.testing.assert_array_equal(measure_structure(stamps, None), first)
    np.testing.assert_allclose(first[:, -2:], [[2.5 * np.log10(2), 2.5 * np.log10(1.5)]] * 3, atol=0.05)
    (kept,) = tmp_path.glob("*.npy")
    np.save(kept, np.zeros_like(first))
    assert not measure_structure(stamps, tmp_path).any()  # read, not measured again


def test_measure_structure__says_what_to_install(monkeypatch):
    monkeypatch.setattr(structure, "is_installed", lambda package: False)
    with pytest.raises(ConfigError, match=r"statmorph is not installed: install the extra surveycnn\[simulation\]"):
        measure_structure(np.zeros((1, 64, 64, 3), np.float32), None)
