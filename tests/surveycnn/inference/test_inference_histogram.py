"""Histograms of probability against dense grids and against those of qp."""

import numpy as np
import qp
from hypothesis import given, settings
from hypothesis import strategies as st

from surveycnn.inference import histogram


def drawn(seed: int, n_bins: int, n: int = 12) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True redshifts, some outside the bins, probabilities, some of them 0, and edges of uneven bins."""
    rng = np.random.default_rng(seed)
    edges = rng.uniform(-0.2, 0.3) + np.append(0, np.cumsum(rng.uniform(0.02, 0.3, n_bins)))
    probability = rng.dirichlet(np.full(n_bins, 0.7), n)
    probability[::3, : n_bins // 2] = 0
    probability /= probability.sum(axis=1, keepdims=True)
    width = edges[-1] - edges[0]
    return rng.uniform(edges[0] - 0.2 * width, edges[-1] + 0.2 * width, n), probability, edges


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 12))
def test_histogram__closed_forms_are_the_integrals(seed, n_bins):
    z, probability, edges = drawn(seed, n_bins)
    low, high = min(z.min(), edges[0]), max(z.max(), edges[-1])
    grid, step = np.linspace(low, high, 5_001, retstep=True)
    grid = grid[:-1] + step / 2
    density = np.stack([histogram.pdf(np.full(len(z), x), probability, edges) for x in grid[::5]], axis=1)
    below = np.array([np.interp(grid, edges, np.append(0, np.cumsum(row))) for row in probability])
    heights = probability / np.diff(edges)
    # a sum of values of a step function is off by no more than a cell times its jumps
    jumps = np.abs(np.diff(heights, axis=1, prepend=0, append=0)).sum(axis=1)
    assert np.all(np.abs(density.sum(axis=1) * 5 * step - 1) <= 5 * step * jumps)
    crps = ((below - (grid >= z[:, None])) ** 2).sum(axis=1) * step
    np.testing.assert_allclose(histogram.crps(z, probability, edges), crps, atol=2 * step)
    squared = (density**2).sum(axis=1) * 5 * step
    loss = squared - 2 * histogram.pdf(z, probability, edges)
    error = 5 * step * 2 * heights.max(axis=1) * jumps
    assert np.all(np.abs(histogram.cde_loss(z, probability, edges) - loss) <= error)
    mean = (high - below.sum(axis=1) * step).round(9)
    np.testing.assert_allclose(histogram.mean_of(probability, edges), mean, atol=1e-4)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 12), st.floats(0.01, 0.99))
def test_histogram__is_that_of_qp(seed, n_bins, q):
    z, probability, edges = drawn(seed, n_bins)
    ensemble = qp.Ensemble(qp.hist, data={"bins": edges, "pdfs": probability / np.diff(edges)})
    np.testing.assert_allclose(histogram.cdf(z, probability, edges), ensemble.cdf(z[:, None])[:, 0], atol=1e-9)
    np.testing.assert_allclose(histogram.pdf(z, probability, edges), ensemble.pdf(z[:, None])[:, 0], rtol=1e-9)
    at = histogram.quantile(q, probability, edges)
    np.testing.assert_allclose(histogram.cdf(at, probability, edges), q, atol=1e-9)
    np.testing.assert_allclose(ensemble.cdf(at[:, None])[:, 0], q, atol=1e-9)


def test_crps__in_pieces(monkeypatch):
    z, probability, edges = drawn(1, 7, n=50)
    whole = histogram.crps(z, probability, edges)
    monkeypatch.setattr(histogram, "N_CELLS", 20)
    np.testing.assert_allclose(histogram.crps(z, probability, edges), whole, rtol=1e-12)


def test_pdf__at_the_ends_and_outside():
    parts = np.tile([0.25, 0.75], (4, 1)), np.array([0.0, 1.0, 2.0])
    np.testing.assert_allclose(histogram.pdf(np.array([-0.1, 0.0, 2.0, 2.1]), *parts), [0, 0.25, 0.75, 0])
    np.testing.assert_allclose(histogram.cdf(np.array([-0.1, 0.0, 2.0, 2.1]), *parts), [0, 0, 1, 1])
