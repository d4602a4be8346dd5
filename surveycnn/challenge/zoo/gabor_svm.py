"""Manchester SVM: moments of Gabor-filtered polar images, and a support vector machine."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from scipy import fft, sparse

from surveycnn.challenge.zoo.method import Finder, Published
from surveycnn.evaluation.methods.linear import standardisation
from surveycnn.evaluation.methods.method import Log, Rows, in_chunks
from surveycnn.evaluation.methods.pixels import stretched
from surveycnn.training.data import LabelledStamps

N_RADII, N_ANGLES = 24, 64
"""Polar image: radii of 1 to 24 pixels in steps of one, and angles all around."""
PAD = 4
WAVELENGTHS = (3.0, 6.0, 12.0)
"""Samples of the polar image."""
N_ORIENTATIONS = 4
REGIONS = ((0, 4), (4, 12), (12, 24))
"""Annuli in which moments are taken, radii in pixels: inside of the arcs, the arcs, and outside."""
WIDTHS, PENALTIES = (0.3, 1.0, 3.0), (1.0, 10.0)
"""Tried on the validation set: gamma of the kernel times the number of features, and C."""


class GaborSVM(Finder):
    """Support vector machine on a Gabor filter bank (Hartley et al. 2017, MNRAS 471, 3378).

    Each band, stretched by arcsinh in units of the noise, is turned into a polar image, where an arc is a line of constant
    radius. Filters of 3 scales and 4 orientations are applied, and the mean, scatter, skewness and kurtosis of the strength of
    the response in three annuli are the features (432). The SVM has a Gaussian kernel in Nystroem's approximation on `n_kernel`
    stamps, so that scoring costs one product of matrices. The choice of scales, annuli and moments is ours.
    """

    name = "gabor_svm"
    title = "Gabor filters + SVM"
    reference = "Hartley et al. 2017 (Manchester SVM)"
    published: ClassVar[Published | None] = Published("Manchester SVM", 0.93, 0.22, 0.35)

    def __init__(self, *, n_train: int = 20_000, n_kernel: int = 1000) -> None:
        super().__init__(n_train=n_train)
        self.n_kernel = self.checked("n_kernel", n_kernel)

    def learn(self, stamps: Rows, is_lens: np.ndarray, valid: LabelledStamps, *, seed: int, log: Log) -> dict[str, np.ndarray]:
        """Kernel and hyperplane; width and penalty are the best ones on the validation set."""
        from sklearn.metrics import roc_auc_score

        features, valid_features = (in_chunks(part, gabor_features) for part in (stamps, valid.stamps))
        mean, scatter = standardisation(features)
        scaled = (features - mean) / scatter
        best, found = -1.0, {}
        for width in WIDTHS:
            kernel = _kernel_of(scaled, width / scaled.shape[1], min(self.n_kernel, len(scaled)), seed)
            kernel |= {"mean": mean, "scatter": scatter}
            mapped = _mapped(features, kernel)
            for penalty in PENALTIES:
                state = kernel | _hyperplane(mapped, is_lens, penalty, seed)
                value = roc_auc_score(valid.labels["is_lens"], _distance(valid_features, state))
                log(f"{self.name}: width {width}, C {penalty}: AUROC {value:.4f} on the validation set")
                if value > best:
                    best, found = value, state
        return found

    def rank(self, stamps: np.ndarray, state: dict[str, np.ndarray]) -> np.ndarray:
        """Signed distances (object,) from the hyperplane."""
        return _distance(gabor_features(stamps), state)


def _kernel_of(scaled: np.ndarray, gamma: float, n_kernel: int, seed: int) -> dict[str, np.ndarray]:
    from sklearn.kernel_approximation import Nystroem

    kernel = Nystroem(kernel="rbf", gamma=gamma, n_components=n_kernel, random_state=seed).fit(scaled)
    return {"gamma": np.asarray(gamma), "anchors": kernel.components_, "basis": kernel.normalization_}


def _hyperplane(mapped: np.ndarray, is_lens: np.ndarray, penalty: float, seed: int) -> dict[str, np.ndarray]:
    from sklearn.svm import LinearSVC

    model: Any = LinearSVC(C=penalty, dual=False, tol=1e-3, max_iter=2000, random_state=seed).fit(mapped, is_lens)
    return {"weights": model.coef_[0], "bias": np.asarray(model.intercept_[0])}


def _mapped(features: np.ndarray, state: dict[str, np.ndarray]) -> np.ndarray:
    """Gaussian kernel of features (object, feature) with the anchors, in the basis in which it is a scalar product."""
    scaled, anchors = (features - state["mean"]) / state["scatter"], state["anchors"]
    squared = (scaled**2).sum(axis=1)[:, None] - 2 * scaled @ anchors.T + (anchors**2).sum(axis=1)
    return np.exp(-float(state["gamma"]) * np.clip(squared, 0, None)) @ state["basis"].T


def _distance(features: np.ndarray, state: dict[str, np.ndarray]) -> np.ndarray:
    return _mapped(features, state) @ state["weights"] + float(state["bias"])


def gabor_features(stamps: np.ndarray) -> np.ndarray:
    """Moments (object, feature) float64 of the filtered polar images of stamps (object, y, x, band), nJy with NaN."""
    parts = []
    for start in range(0, max(1, len(stamps)), 128):  # the responses of more would not fit into the caches
        images = polar_images(stretched(stamps[start : start + 128]))
        spectrum = fft.fft2(np.pad(images, ((0, 0), (0, 0), (PAD, PAD), (0, 0)), mode="reflect"))
        moments = [_moments(np.abs(fft.ifft2(spectrum * window))[:, :, PAD:-PAD]) for window in gabor_windows()]
        parts.append(np.concatenate(moments, axis=1))
    return np.concatenate(parts)


def polar_images(image: np.ndarray) -> np.ndarray:
    """Polar images (object, band, radius, angle) float32 of images (object, y, x, band) about their middle, bilinear."""
    n, ny, nx, n_bands = image.shape
    flat = image.transpose(1, 2, 0, 3).reshape(ny * nx, n * n_bands)
    return (_polar_weights(ny, nx) @ flat).reshape(N_RADII, N_ANGLES, n, n_bands).transpose(2, 3, 0, 1)


@lru_cache(maxsize=4)
def _polar_weights(ny: int, nx: int) -> sparse.csr_array:
    """Bilinear weights (radius x angle, y x x); nothing comes from outside of the image."""
    radius = np.repeat(np.arange(1, N_RADII + 1), N_ANGLES)
    angle = np.tile(2 * np.pi * np.arange(N_ANGLES) / N_ANGLES, N_RADII)
    y, x = (ny - 1) / 2 + radius * np.sin(angle), (nx - 1) / 2 + radius * np.cos(angle)
    rows, columns, weights = [], [], []
    for dy in (0, 1):
        for dx in (0, 1):
            py, px = np.floor(y).astype(int) + dy, np.floor(x).astype(int) + dx
            inside = (py >= 0) & (py < ny) & (px >= 0) & (px < nx)
            rows.append(np.flatnonzero(inside))
            columns.append((py * nx + px)[inside])
            weights.append(((1 - np.abs(y - py)) * (1 - np.abs(x - px)))[inside])
    values = (np.concatenate(weights).astype(np.float32), (np.concatenate(rows), np.concatenate(columns)))
    return sparse.csr_array(values, shape=(N_RADII * N_ANGLES, ny * nx))


@lru_cache(maxsize=1)
def gabor_windows() -> np.ndarray:
    """Fourier transforms (filter, radius, angle) float32 of the filters: Gaussians of one octave about each wave number."""
    fy, fx = fft.fftfreq(N_RADII + 2 * PAD)[:, None], fft.fftfreq(N_ANGLES)[None, :]
    windows = []
    for wavelength in WAVELENGTHS:
        for orientation in np.pi * np.arange(N_ORIENTATIONS) / N_ORIENTATIONS:
            y, x = np.cos(orientation) / wavelength, np.sin(orientation) / wavelength
            width = 1 / (3 * wavelength) / np.sqrt(2 * np.log(2))  # half of the peak at 2/3 and 4/3 of the wave number
            windows.append(np.exp(-((fy - y) ** 2 + (fx - x) ** 2) / (2 * width**2)))
    return np.stack(windows).astype(np.float32)


def _moments(strength: np.ndarray) -> np.ndarray:
    """ln of mean and scatter, skewness and ln of kurtosis (object, value) of responses (object, band, radius, angle)."""
    found = []
    for first, last in REGIONS:
        part = strength[:, :, first:last].reshape(*strength.shape[:2], -1).astype(np.float64)
        mean = part.mean(axis=2, keepdims=True)
        off = part - mean
        square = off * off
        scatter = np.sqrt(square.mean(axis=2)) + 1e-9
        skewness, kurtosis = (square * off).mean(axis=2) / scatter**3, (square * square).mean(axis=2) / scatter**4
        found += [np.log(mean[:, :, 0] + 1e-3), np.log(scatter + 1e-3), skewness, np.log(kurtosis + 1e-3)]
    return np.concatenate(found, axis=1)
