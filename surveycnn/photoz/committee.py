"""Training of the networks for tables: a committee, whose mean PDF is the answer.

Each time that a network sees a galaxy its fluxes are measured anew, with up to as much noise again as they have: a network that
cannot learn single rows by heart gives widths that hold for others. The committee's mean PDF is better than each of its
members' (Lakshminarayanan et al. 2017, arXiv 1612.01474).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from surveycnn.models.backend import import_keras
from surveycnn.photoz.card import FeatureScaling
from surveycnn.photoz.features import features_of
from surveycnn.photoz.network import build_committee
from surveycnn.photoz.tables import Photometry
from surveycnn.training.losses import mixture

Log = Callable[[str], None]

WIDTH, DEPTH, COMPONENTS = 128, 3, 8
"""Of each member: units of a layer, layers, Gaussians."""
N_PUBLISHED = 16
"""Gaussians of the mean PDF that are published."""
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 1e-2
EXTRA_NOISE = 1.0
"""Widest added noise of a flux, in units of its error."""
MISSING = 0.02
"""Share of the galaxies of which one band, at random, is left out: models meet rows that lack a band."""


@dataclass(frozen=True)
class Rows:
    """What the networks learn from."""

    photometry: Photometry
    redshift: np.ndarray
    """(object,) in units of the redshift scale."""
    scaling: FeatureScaling

    def __len__(self) -> int:
        return len(self.redshift)

    def features(self, members: Any = slice(None)) -> np.ndarray:
        """Features (..., feature) of some rows as they are."""
        flux, error = self.photometry.flux[members], self.photometry.flux_err[members]
        return features_of(flux, error, self.scaling, self.photometry.bands)

    def noisy_features(self, members: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Features (..., feature) of some rows, measured anew with more noise, a few with a band less."""
        flux, error = self.photometry.flux[members], self.photometry.flux_err[members]
        depth = np.array([self.scaling.softening[band] for band in self.photometry.bands])
        known = np.where(np.isfinite(error), error, depth)
        amount = EXTRA_NOISE * rng.random((*members.shape, 1))
        flux = flux + amount * known * rng.standard_normal(flux.shape)
        if flux.shape[-1] > 1:
            dropped = rng.integers(flux.shape[-1], size=(*members.shape, 1)) == np.arange(flux.shape[-1])
            flux = np.where(dropped & (rng.random((*members.shape, 1)) < MISSING), np.nan, flux)
        return features_of(flux, error, self.scaling, self.photometry.bands)


@dataclass(frozen=True)
class Pace:
    """How long and in what steps networks learn."""

    epochs: int
    batch_size: int
    seed: int

    def steps(self, n_rows: int) -> int:
        """Batches of one pass."""
        return max(1, n_rows // self.batch_size)


def fit_committee(rows: Rows, valid: Rows, n_members: int, pace: Pace, log: Log) -> tuple[Any, int]:
    """A committee in which each member sees the rows in an order and with noise of its own, and its best epoch."""
    start = np.quantile(rows.redshift, np.linspace(0.05, 0.95, COMPONENTS))
    n_features = rows.features(slice(0, 1)).shape[-1]
    model = build_committee(n_members, n_features, WIDTH, DEPTH, COMPONENTS, start)

    def batches(epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        rng = np.random.default_rng([pace.seed, 1, epoch])
        orders = np.stack([rng.permutation(len(rows)) for _ in range(n_members)], axis=1)
        for step in range(pace.steps(len(rows))):
            members = orders[step * pace.batch_size : (step + 1) * pace.batch_size]
            yield rows.noisy_features(members, rng), rows.redshift[members][..., None].astype(np.float32)

    tiled = np.repeat(valid.features()[:, None], n_members, axis=1)
    held_out = (tiled, np.repeat(valid.redshift[:, None, None], n_members, axis=1).astype(np.float32))
    _compile(model, mixture, pace, len(rows))
    return model, _fit(model, batches, held_out, pace, log, f"committee of {n_members}")


def _compile(model: Any, loss: Any, pace: Pace, n_rows: int) -> None:
    keras = import_keras()
    steps = pace.epochs * pace.steps(n_rows)
    rate = keras.optimizers.schedules.CosineDecay(
        LEARNING_RATE / 30, steps, warmup_target=LEARNING_RATE, warmup_steps=max(1, steps // 20)
    )
    optimizer = keras.optimizers.AdamW(rate, weight_decay=WEIGHT_DECAY, beta_2=0.99, clipnorm=5.0)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    model.compile(optimizer, loss, jit_compile=False)


def _fit(
    model: Any,
    batches: Callable[[int], Iterator[tuple[np.ndarray, np.ndarray]]],
    held_out: tuple[np.ndarray, np.ndarray],
    pace: Pace,
    log: Log,
    name: str,
) -> int:
    """Train in place; the weights of the epoch with the smallest validation loss stay. Returns that epoch, from 1."""
    best, best_epoch, kept = np.inf, 0, model.get_weights()
    for epoch in range(pace.epochs):
        loss = np.mean([model.train_on_batch(features, target) for features, target in batches(epoch)])
        is_due = (epoch + 1) % max(1, pace.epochs // 40) == 0 or epoch + 1 == pace.epochs
        if not is_due:
            continue
        value = float(model.evaluate(*held_out, batch_size=4096, verbose=0))
        if value < best:
            best, best_epoch, kept = value, epoch + 1, model.get_weights()
        if (epoch + 1) % max(1, pace.epochs // 10) < max(1, pace.epochs // 40):
            log(f"{name}: epoch {epoch + 1}/{pace.epochs} loss {loss:.4f} valid {value:.4f}")
    model.set_weights(kept)
    return best_epoch
