"""How fast our table commands are: 160,000 rows of 11 bands, for benchmarks/photoz_tables.py."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from benchmarks.photoz_tables_data import NOT_DETECTED, Sample, write_parquet
from benchmarks.photoz_tables_methods import run_photoz

N_ROWS = 160_000
FLOOR = 0.01
"""Error (mag) added to every row that is drawn again."""


def many_rows(sample: Sample, n_rows: int, seed: int) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Bands and columns of `n_rows` training rows drawn again with noise; one more band between each two."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, len(sample.train), n_rows)
    mag, error = sample.train.mag[rows], np.hypot(sample.train.mag_err[rows], FLOOR)
    detected = mag < NOT_DETECTED
    both = detected[:, :-1] & detected[:, 1:]
    between = np.where(both, (mag[:, :-1] + mag[:, 1:]) / 2, NOT_DETECTED)
    bands = (*sample.bands, *(f"{a}{b}" for a, b in zip(sample.bands[:-1], sample.bands[1:], strict=True)))
    mag = np.column_stack([mag, between])
    error = np.column_stack([error, np.where(both, np.hypot(error[:, :-1], error[:, 1:]) / 2, NOT_DETECTED)])
    noisy = np.where(mag < NOT_DETECTED, mag + np.minimum(error, 1) * rng.normal(size=mag.shape), NOT_DETECTED)
    columns = {f"mag_{band}": noisy[:, k] for k, band in enumerate(bands)}
    columns |= {f"mag_err_{band}": error[:, k] for k, band in enumerate(bands)}
    return bands, columns | {"redshift": sample.train.redshift[rows]}


def speed(sample: Sample, folder: Path, seed: int, n_rows: int = N_ROWS) -> None:
    """Print the wall seconds of `fit` and `predict`, and of the call of `predict` alone."""
    bands, columns = many_rows(sample, n_rows, seed)
    path, model = write_parquet(columns, folder / "speed.parquet"), folder / "speed_model"
    fit_s, _ = run_photoz("fit", path, "--bands", ",".join(bands), "--redshift", "redshift", "--seed", seed, "-o", model)
    print(f"photoz fit: {n_rows:,} rows x {len(bands)} bands in {fit_s:.1f} s")
    predict_s, _ = run_photoz("predict", model, path, "-o", folder / "speed_photoz.parquet")
    print(f"photoz predict, the whole command: {predict_s:.2f} s, {n_rows / predict_s:,.0f} rows/s")
    alone_s = predict_alone(path, model, bands)
    print(f"photoz predict, the call alone: {alone_s:.2f} s, {n_rows / alone_s:,.0f} rows/s")


def predict_alone(path: Path, model: Path, bands: tuple[str, ...]) -> float:
    """Seconds of the second of two calls on photometry that lies in memory."""
    from surveycnn.photoz.predict import load_photoz
    from surveycnn.photoz.tables import photometry_of, read_table

    photometry = photometry_of(read_table(path), bands)
    loaded = load_photoz(model)
    for _ in range(2):
        started = time.perf_counter()
        loaded.predict(photometry)
        seconds = time.perf_counter() - started
    return seconds
