"""Training of the networks for tables: a committee on the table, then one network on the committee's mean PDF.

Each time that a network sees a galaxy its fluxes are measured anew, with up to as much noise again as they have: a network that
cannot learn single rows by heart gives widths that hold for others. The committee's mean PDF is better than each of its
members' (Lakshminarayanan et al. 2017, arXiv 1612.01474); a single network that learns it from samples of it costs a
prediction one network, and a catalog a dozen Gaussians instead of fifty (Hinton et al. 2015, arXiv 1503.02531).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from surveycnn.inference.heads import mixture_parameters
from surveycnn.models.backend import import_keras
from surveycnn.photoz.card import FeatureScaling
from surveycnn.photoz.features import features_of
from surveycnn.photoz.network import build_committee, build_network
from surveycnn.photoz.tables import Photometry
from surveycnn.training.losses import mixture, mixture_log_density

Log = Callable[[str], None]

MEMBER_WIDTH, MEMBER_DEPTH, MEMBER_COMPONENTS = 128, 3, 8
WIDTH, DEPTH, COMPONENTS = 256, 3, 12
"""Of the network that is published."""
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 1e-2
EXTRA_NOISE = 1.0
"""Widest added noise of a flux, in units of its error."""
MISSING = 0.02
"""Share of the galaxies of which one band, at random, is left out: models meet rows that lack a band."""
N_SAMPLES = 8
"""Redshifts that are drawn from the committee's PDF each time that the last network sees a galaxy."""


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
    start = np.quantile(rows.redshift, np.linspace(0.05, 0.95, MEMBER_COMPONENTS))
    n_features = rows.features(slice(0, 1)).shape[-1]
    model = build_committee(n_members, n_features, MEMBER_WIDTH, MEMBER_DEPTH, MEMBER_COMPONENTS, start)

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


def fit_published(rows: Rows, valid: Rows, committee: Any, pace: Pace, log: Log) -> Any:
    """The network that is published: it learns from redshifts drawn from the mean PDF of the committee."""
    start = np.quantile(rows.redshift, np.linspace(0.03, 0.97, COMPONENTS))
    model = build_network(rows.features(slice(0, 1)).shape[-1], WIDTH, DEPTH, COMPONENTS, start)

    def batches(epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        rng = np.random.default_rng([pace.seed, 2, epoch])
        order = rng.permutation(len(rows))
        for step in range(pace.steps(len(rows))):
            features = rows.noisy_features(order[step * pace.batch_size : (step + 1) * pace.batch_size], rng)
            yield features, draw_redshifts(committee, features, rng)

    held_out = (valid.features(), valid.redshift[:, None].astype(np.float32))
    _compile(model, samples_nll, pace, len(rows))
    _fit(model, batches, held_out, pace, log, "published network")
    return model


def committee_mixture(committee: Any, features: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weight, mean and sigma (object, component), in units of the redshift scale, of the mean PDF of a committee."""
    n_members = committee.input_shape[1]
    raw = committee.predict_on_batch(np.repeat(features[:, None], n_members, axis=1))
    parts = [mixture_parameters(np.asarray(raw[:, member], np.float64)) for member in range(n_members)]
    weight, mean, sigma = (np.concatenate(values, axis=1) for values in zip(*parts, strict=True))
    return weight / n_members, mean, sigma


def draw_redshifts(committee: Any, features: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Redshifts (object, sample) float32, in units of the redshift scale, drawn from the mean PDF of a committee."""
    weight, mean, sigma = committee_mixture(committee, features)
    upto = np.cumsum(weight, axis=1)
    # one draw in each part of the distribution over the Gaussians: less scatter than with independent ones
    place = (np.arange(N_SAMPLES) + rng.random((len(features), N_SAMPLES))) / N_SAMPLES * upto[:, -1:]
    chosen = np.minimum((place[:, :, None] > upto[:, None, :]).sum(axis=2), weight.shape[1] - 1)
    mean, sigma = (np.take_along_axis(values, chosen, axis=1) for values in (mean, sigma))
    return (mean + sigma * rng.standard_normal(mean.shape)).astype(np.float32)


def samples_nll(target: Any, raw: Any) -> Any:
    """Negative log density (object,) of the mixture of `raw` (object, 3 K), mean over the redshifts `target` (object, sample)."""
    ops = import_keras().ops
    return -ops.mean(mixture_log_density(target[..., None], ops.expand_dims(raw, 1)), axis=-1)


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
