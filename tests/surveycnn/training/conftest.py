"""Small labelled sets of noise and blobs, on which a few steps of training can be told from none."""

import numpy as np
import pytest

from surveycnn.models.morphology import QUESTIONS
from surveycnn.training.data import LabelledStamps


def blob_stamps(task: str, n: int, seed: int, size: int = 64) -> LabelledStamps:
    """Stamps of one or two Gaussian blobs in noise; the label can be read off them."""
    rng = np.random.default_rng(seed)
    bands = ("g", "r", "i", "z") if task == "photoz" else ("g", "r", "i")
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    label, redshift = rng.random(n) < 0.5, rng.uniform(0.1, 1.2, n)
    flux = rng.uniform(50, 100, n)
    width = np.where(label, 5.0, 2.0) if task == "morphology" else np.full(n, 2.5)
    blob = flux[:, None, None] * np.exp(-0.5 * (x**2 + y**2) / width[:, None, None] ** 2)
    distance = rng.uniform(6, 12, n)
    second = np.exp(-0.5 * ((x - distance[:, None, None]) ** 2 + y**2) / 4.0) * flux[:, None, None]
    if task in ("lens", "merger"):
        blob = blob + label[:, None, None] * second
    colour = np.linspace(-1, 1, len(bands)) * redshift[:, None] if task == "photoz" else np.zeros((n, len(bands)))
    stamps = blob[..., None] * 10 ** (0.6 * colour)[:, None, None, :] + rng.normal(0, 2, (n, size, size, len(bands)))
    labels = {
        "lens": {"is_lens": label},
        "merger": {"is_merger": label, "time_myr": np.where(label, 50 * distance, np.nan)},
        "photoz": {"redshift": redshift} | _fluxes(stamps) if task == "photoz" else {},
        "morphology": _votes(label, rng) if task == "morphology" else {},
    }[task]
    return LabelledStamps(task, bands, stamps.astype(np.float32), labels, _truth(task, label, labels))


def _fluxes(stamps: np.ndarray) -> dict[str, np.ndarray]:
    flux = stamps.sum(axis=(1, 2))
    return {"flux": flux, "flux_err": np.full(flux.shape, 2.0 * stamps.shape[1])}


def _truth(task: str, label: np.ndarray, labels: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    if task == "merger":
        return {"kind": np.where(label, "merger", "projected")}
    if task == "morphology":
        fractions = {f"fraction_{name}": np.full(votes.shape, 1.0 / votes.shape[1]) for name, votes in labels.items()}
        featured = np.where(label, 0.9, 0.1)
        return fractions | {"fraction_smooth_or_featured": np.stack([1 - featured, featured, 0 * featured], axis=1)}
    return {}


def _votes(label: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    votes = {question: np.zeros((len(label), len(answers)), int) for question, answers in QUESTIONS.items()}
    votes["smooth_or_featured"][:, 1] = n_featured = rng.binomial(20, np.where(label, 0.9, 0.1))
    votes["smooth_or_featured"][:, 0] = 20 - n_featured
    votes["disk_edge_on"][:, 1] = n_featured
    return votes


@pytest.fixture(scope="session")
def blobs():
    """Function (task, n, seed) -> LabelledStamps."""
    return blob_stamps
