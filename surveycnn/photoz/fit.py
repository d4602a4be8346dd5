"""Fit of a photo-z model to a table: split, train, calibrate, measure, write the package."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from surveycnn import __version__
from surveycnn.errors import InputError
from surveycnn.models.backend import import_keras
from surveycnn.models.card import Metric
from surveycnn.photoz.card import FitSettings as FitSettings
from surveycnn.photoz.card import TableCard, check_name
from surveycnn.photoz.committee import COMPONENTS, N_PUBLISHED, Log, Pace, Rows, fit_committee
from surveycnn.photoz.features import feature_scaling
from surveycnn.photoz.network import forward, mean_mixture, members_of
from surveycnn.photoz.package import check_folder, load_photoz, save_photoz
from surveycnn.photoz.tables import Photometry
from surveycnn.training.calibration import uniform_width
from surveycnn.training.redshift_metrics import redshift_metrics

MIN_ROWS = 100
MAX_VALID = 5_000
SMALL, SMALL_BATCH, LARGE_BATCH = 30_000, 256, 1024
"""Rows up to which batches are small, and the two sizes."""
REFERENCE_ROWS, REFERENCE_EPOCHS = 10_000, 140
"""A table of so many rows is passed so many times; a larger one is seen longer in all, but fewer times."""
MORE_ROWS = 0.4
"""Exponent with which the galaxies that a network sees in all grow with the rows."""


def fit_photoz(
    photometry: Photometry,
    redshift: np.ndarray,
    folder: str | Path,
    *,
    settings: FitSettings | None = None,
    name: str = "photoz",
    columns: Mapping[str, str] | None = None,
    log: Log = print,
) -> TableCard:
    """Fit a photo-z model and write its package into `folder`.

    Parameters
    ----------
    photometry
        Fluxes (object, band) in nJy with their errors.
    redshift
        (object,) true redshifts, finite and not negative.
    columns
        Columns of the table under other names than ours, kept in the card for the tables to come.

    Returns
    -------
    The card, with metrics on the rows that were not trained on.

    Raises
    ------
    InputError
        Where there are too few rows, a band has no data at all, the name cannot be used, or `folder` holds other things.
    """
    settings = settings or FitSettings()
    redshift = np.asarray(redshift, np.float64)
    check_training(photometry, redshift)
    check_name(name)
    check_folder(folder)
    import_keras().utils.set_random_seed(settings.seed)
    train_rows, valid_rows, scale = _split(photometry, redshift, settings)
    pace = pace_of(len(train_rows), settings)
    log(f"fitting on {len(train_rows)} rows, {len(valid_rows)} held out, {pace.epochs} passes")
    committee, best = fit_committee(train_rows, valid_rows, settings.members, pace, log)
    members = members_of(committee)
    raw = forward(members, valid_rows.features())
    card = TableCard(
        name=name,
        bands=list(photometry.bands),
        columns=dict(columns or {}),
        redshift=(round(float(redshift.min()), 5), round(float(redshift.max()), 5)),
        scaling=train_rows.scaling,
        redshift_scale=scale,
        n_components=min(N_PUBLISHED, settings.members * COMPONENTS),
        width=round(uniform_width(partial(_mixture, raw), valid_rows.redshift), 4),
        settings=settings,
        n_train=len(train_rows),
        n_valid=len(valid_rows),
        epochs=best,
        surveycnn=__version__,
        keras=import_keras().__version__,
    )
    save_photoz(folder, members, card, valid_rows.photometry)
    metrics = _measured(folder, valid_rows, scale)
    return save_photoz(folder, members, card.model_copy(update={"metrics": metrics}), valid_rows.photometry)


def _mixture(raw: np.ndarray, width: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gaussians in units of the redshift scale, with widths by the factor `width`."""
    return mean_mixture(raw, width, 1.0, N_PUBLISHED)


def check_training(photometry: Photometry, redshift: np.ndarray) -> None:
    """Raise InputError where a table cannot be learned from."""
    n = len(photometry)
    if n < MIN_ROWS:
        raise InputError(f"the table has {n} rows, but a fit needs at least {MIN_ROWS} with known redshifts: give more galaxies")
    if len(redshift) != n:
        raise InputError(f"there are {len(redshift)} redshifts for {n} rows of photometry")
    for number, band in enumerate(photometry.bands):
        measured = np.isfinite(photometry.flux[:, number]) & np.isfinite(photometry.flux_err[:, number])
        if not measured.any():
            raise InputError(f"band {band!r} has no measured flux in any of the {n} rows: leave it out of the bands")
    if not np.ptp(redshift) > 0:
        raise InputError(f"all {n} redshifts are {redshift[0]:g}: there is nothing to learn; check the redshift column")


def pace_of(n_rows: int, settings: FitSettings) -> Pace:
    """Passes and batches for a table of `n_rows`."""
    epochs = settings.epochs
    if epochs is None:
        epochs = max(1, round(REFERENCE_EPOCHS * (max(n_rows, REFERENCE_ROWS) / REFERENCE_ROWS) ** (MORE_ROWS - 1.0)))
    batch_size = SMALL_BATCH if n_rows < SMALL else LARGE_BATCH
    return Pace(epochs, min(batch_size, max(16, n_rows // 8)), settings.seed)


def _split(photometry: Photometry, redshift: np.ndarray, settings: FitSettings) -> tuple[Rows, Rows, float]:
    """Rows to train on, rows to hold out, both in random order, and the redshift scale."""
    order = np.random.default_rng(settings.seed).permutation(len(redshift))
    n_valid = min(max(1, round(settings.valid_fraction * len(order))), MAX_VALID)
    valid, train = order[:n_valid], order[n_valid:]
    scale = round(float(np.std(redshift[train])) or 1.0, 6)
    scaling = feature_scaling(_some(photometry, train))
    rows, held_out = (Rows(_some(photometry, some), redshift[some] / scale, scaling) for some in (train, valid))
    return rows, held_out, scale


def _some(photometry: Photometry, members: np.ndarray) -> Photometry:
    return Photometry(photometry.bands, photometry.flux[members], photometry.flux_err[members])


def _measured(folder: str | Path, valid: Rows, scale: float) -> dict[str, Metric]:
    """Metrics on the held-out rows of the package as it was written."""
    found = load_photoz(folder).predict(valid.photometry)
    parts = [found[name].astype(np.float64) for name in ("pz_weight", "pz_mean", "pz_sigma")]
    known = np.isfinite(found["z_phot"])
    return redshift_metrics((valid.redshift * scale)[known], *(part[known] for part in parts))
