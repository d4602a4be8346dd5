"""The rows of benchmarks/photoz_tables.py that this environment runs: our commands, nearest neighbours, random forest.

Each takes a sample and gives a :class:`Result`: densities of redshift on the sample's grid, and how long they took.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import sklearn
from scipy import fft
from scipy.sparse import csr_matrix
from sklearn.ensemble import RandomForestRegressor
from sklearn.neighbors import NearestNeighbors

from benchmarks.photoz_tables_data import Half, Sample, columns_of, write_parquet
from benchmarks.photoz_tables_score import Densities
from surveycnn import __version__
from surveycnn.inference import mixture

N_NEIGHBOURS = 15
REF_SCALE = 0.3
"""Weight of the reference magnitude beside the colours in distances."""
N_TREES, LEAST_IN_LEAF = 100, 5
LEAST_BANDWIDTH = 2.0
"""Steps of the grid below which a kernel would not be sampled."""


@dataclass(frozen=True)
class Result:
    """A method's answers for the test half."""

    title: str
    version: str
    densities: Densities
    fit_s: float
    """CPU seconds of all threads."""
    predict_s: float
    mixture: tuple[np.ndarray, np.ndarray, np.ndarray] | None = field(default=None, repr=False)
    """Weight, mean, sigma (object, component), of methods that publish them."""


def kernel_density(counts: np.ndarray, effective: np.ndarray, step: float) -> np.ndarray:
    """Densities (object, node) from weights (object, node) that sum to 1, smoothed with each object's own Gaussian.

    Its width is Silverman's, 0.9 min(std, IQR / 1.349) n^-1/5, with `effective` (object,) the number n of redshifts that the
    weights are worth; at least :data:`LEAST_BANDWIDTH` steps.
    """
    n_nodes = counts.shape[1]
    nodes = np.arange(n_nodes)
    mean = counts @ nodes
    spread = np.sqrt(np.maximum(counts @ nodes**2 - mean**2, 0))
    below = np.cumsum(counts, axis=1)
    quartiles = [(below < q).sum(axis=1) for q in (0.25, 0.75)]
    width = 0.9 * np.minimum(spread, np.maximum(quartiles[1] - quartiles[0], 1) / 1.349) * effective**-0.2
    padded = fft.next_fast_len(2 * n_nodes, real=True)
    frequency = 2 * np.pi * fft.rfftfreq(padded)
    kernel = np.exp(-0.5 * (frequency * np.maximum(width, LEAST_BANDWIDTH)[:, None]) ** 2)
    smooth = fft.irfft(fft.rfft(counts, padded, axis=1) * kernel, padded, axis=1)[:, :n_nodes]
    return np.maximum(smooth, 0) / step


def colours_and_magnitude(sample: Sample, half: Half) -> np.ndarray:
    """Neighbouring colours and the scaled reference magnitude (object, band)."""
    magnitudes = sample.magnitudes(half)
    return np.column_stack([-np.diff(magnitudes, axis=1), REF_SCALE * magnitudes[:, sample.bands.index(sample.ref_band)]])


def nearest_neighbours(sample: Sample) -> Result:
    """Kernel density of the redshifts of the nearest neighbours in colours and magnitude, all alike."""
    started = time.process_time()
    found = NearestNeighbors(n_neighbors=N_NEIGHBOURS).fit(colours_and_magnitude(sample, sample.train))
    fitted = time.process_time()
    node = _node(sample)[found.kneighbors(colours_and_magnitude(sample, sample.test), return_distance=False)]

    def densities(some: slice) -> np.ndarray:
        counts = np.zeros((len(node[some]), len(sample.grid)))
        np.add.at(counts, (np.arange(len(counts))[:, None], node[some]), 1 / N_NEIGHBOURS)
        return kernel_density(counts, np.full(len(counts), float(N_NEIGHBOURS)), _step(sample))

    title = f"k nearest neighbours, k = {N_NEIGHBOURS}"
    return Result(title, _sklearn(), densities, fitted - started, time.process_time() - fitted)


def random_forest(sample: Sample, seed: int) -> Result:
    """Kernel density of the training redshifts in the leaves that an object falls into (Meinshausen 2006)."""
    halves = (sample.train, sample.test)
    features = [np.column_stack([sample.magnitudes(half), colours_and_magnitude(sample, half)]) for half in halves]
    started = time.process_time()
    forest = RandomForestRegressor(N_TREES, min_samples_leaf=LEAST_IN_LEAF, random_state=seed, n_jobs=-1)
    forest.fit(features[0], sample.train.redshift)
    fitted = time.process_time()
    in_leaves, leaves = (forest.apply(values) for values in features)
    members = [_members(leaf) for leaf in in_leaves.T]
    node, n_train = _node(sample), len(sample.train)
    to_grid = csr_matrix((np.ones(n_train), (np.arange(n_train), node)), shape=(n_train, len(sample.grid)))

    def densities(some: slice) -> np.ndarray:
        weight = sum(rows[leaf] for rows, leaf in zip(members, leaves[some].T, strict=True)) / N_TREES
        effective = 1 / np.asarray(weight.multiply(weight).sum(axis=1)).ravel()
        return kernel_density((weight @ to_grid).toarray(), effective, _step(sample))

    title = f"random forest, {N_TREES} trees, leaves of {LEAST_IN_LEAF}"
    return Result(title, _sklearn(), densities, fitted - started, time.process_time() - fitted)


def _members(leaf: np.ndarray) -> csr_matrix:
    """Weights (leaf, training object) of one tree, every leaf's summing to 1."""
    counts = np.bincount(leaf)
    return csr_matrix((1 / counts[leaf], (leaf, np.arange(len(leaf)))), shape=(len(counts), len(leaf)))


def surveycnn_photoz(sample: Sample, seed: int, folder: Path) -> Result:
    """Our two commands on tables written as Parquet; the times are those of the whole commands, start included."""
    train, test = (
        write_parquet(columns_of(sample, half), folder / f"{sample.name}_{name}.parquet")
        for name, half in (("train", sample.train), ("test", sample.test))
    )
    model, output = folder / f"{sample.name}_model", folder / f"{sample.name}_photoz.parquet"
    fit = ["fit", train, "--bands", ",".join(sample.bands), "--redshift", "redshift", "--seed", seed, "-o", model]
    (_, fit_s), (_, predict_s) = run_photoz(*fit), run_photoz("predict", model, test, "-o", output)
    table = pq.read_table(output)
    weight, mean, sigma = (
        np.stack(table[name].to_numpy().tolist()).astype(float) for name in ("pz_weight", "pz_mean", "pz_sigma")
    )
    weight /= weight.sum(axis=1, keepdims=True)

    def densities(some: slice) -> np.ndarray:
        return mixture_densities(sample.grid, weight[some], mean[some], sigma[some])

    return Result("surveycnn photoz", f"surveycnn {__version__}", densities, fit_s, predict_s, (weight, mean, sigma))


def mixture_densities(grid: np.ndarray, weight: np.ndarray, mean: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Densities (object, node) of mixtures (object, component): differences of the distribution function over the cells.

    The mean of a cell rather than the value at its node, so that components narrower than the grid keep their weight.
    """
    step = grid[1] - grid[0]
    edges = np.append(grid - step / 2, grid[-1] + step / 2)
    below = np.stack([mixture.cdf(np.full(len(weight), edge), weight, mean, sigma) for edge in edges], axis=1)
    return np.diff(below, axis=1) / step


def run_photoz(*arguments: object) -> tuple[float, float]:
    """Wall and CPU seconds that ``surveycnn photoz ...`` took; its output goes to ours."""
    started, before = time.perf_counter(), os.times()
    subprocess.run([sys.executable, "-m", "surveycnn", "photoz", *map(str, arguments)], check=True)
    after = os.times()
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - started, cpu_s


def _node(sample: Sample) -> np.ndarray:
    """Node of the grid (object,) nearest to each training redshift."""
    return np.rint((sample.train.redshift - sample.grid[0]) / _step(sample)).astype(int)


def _step(sample: Sample) -> float:
    return float(sample.grid[1] - sample.grid[0])


def _sklearn() -> str:
    return f"scikit-learn {sklearn.__version__}"
