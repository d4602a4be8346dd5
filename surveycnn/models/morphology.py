"""The Galaxy Zoo classifier: concentrations of a Dirichlet distribution over the answers of each question.

After Walmsley et al. (2022, MNRAS 509, 3966, arXiv 2102.08414).
"""

from __future__ import annotations

from typing import Any

from surveycnn.models.backend import import_keras
from surveycnn.models.blocks import WIDTHS, dense_head, residual_features

QUESTIONS: dict[str, list[str]] = {
    "smooth_or_featured": ["smooth", "featured_or_disk", "artifact"],
    "how_rounded": ["round", "in_between", "cigar"],
    "disk_edge_on": ["yes", "no"],
    "has_spiral_arms": ["yes", "no"],
    "bar": ["strong", "weak", "no"],
    "bulge_size": ["dominant", "moderate", "small"],
}
"""Questions with their answers, in the order of the outputs."""


def build_morphology(
    n_outputs: int, stamp_px: int = 64, n_bands: int = 3, widths: tuple[int, ...] = WIDTHS, dropout: float = 0.2
) -> Any:
    """Keras model from scaled stamps (object, y, x, band) to one number per answer (object, `n_outputs`).

    They stand for the logarithms of the concentrations (surveycnn.inference.heads); all start at a concentration of 2.
    """
    keras = import_keras()
    inputs = keras.Input((stamp_px, stamp_px, n_bands), name="stamps")
    raw = dense_head(residual_features(inputs, widths), n_outputs, dropout=dropout, bias=[0.7] * n_outputs)
    return keras.Model(inputs, raw, name="morphology")
