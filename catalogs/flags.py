"""Bits of the catalog column ``flags``: one definition gives the constants, the decoder and the documentation.

A vocabulary module: it imports nothing of ours, and every layer may import it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Flag:
    """One bit of the column ``flags``."""

    bit: int
    name: str
    doc: str

    @property
    def value(self) -> int:
        return 1 << self.bit


FLAGS: tuple[Flag, ...] = (
    Flag(0, "truncated", "the family of touching pixels reaches beyond the halo, so deblending may depend on the tiling"),
    Flag(1, "blended", "deblended from a family with other sources, whose wings below the threshold are in the apertures too"),
    Flag(2, "masked", "masked or missing pixels inside a flux aperture"),
    Flag(3, "edge", "a flux aperture reaches beyond the mosaic or the coverage"),
    Flag(4, "saturated", "pixels at or above the saturation level inside a flux aperture"),
    Flag(5, "missing_band", "at least one band has too little data at the source"),
    Flag(6, "stamp_incomplete", "some of the pixels given to a model had no data"),
    Flag(7, "no_centroid", "the windowed centroid did not converge, the position is that of the peak pixel"),
    *(
        Flag(
            bit,
            f"outside_domain_{task}",
            f"outside the magnitudes of the {text} model's training set, or unlike it ({column} > 1)",
        )
        for bit, task, text, column in (
            (8, "lens", "lens", "lens_domain"),
            (9, "morphology", "morphology", "morph_domain"),
            (10, "merger", "merger", "merger_domain"),
            (11, "photoz", "photo-z", "pz_domain"),
        )
    ),
    Flag(12, "no_prediction", "a model gave no number for this source: more than half of its stamp had no data"),
)

BY_NAME = {flag.name: flag for flag in FLAGS}


def flag_value(name: str) -> int:
    """Value of the bit called `name`.

    >>> flag_value("edge")
    8
    """
    return BY_NAME[name].value


def decode_flags(value: int) -> list[str]:
    """Names of the bits that are set in `value`, lowest first.

    >>> decode_flags(9)
    ['truncated', 'edge']
    """
    return [flag.name for flag in FLAGS if value & flag.value]


def has_flag(values: np.ndarray, name: str) -> np.ndarray:
    """Boolean array, True where the bit called `name` is set; `values` is any integer array."""
    return (np.asarray(values) & flag_value(name)) != 0
