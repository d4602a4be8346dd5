"""The golden files of a model package: examples with the outputs that its networks must give."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from surveycnn.errors import ModelError
from surveycnn.models.card import Card
from surveycnn.models.package_files import GOLDEN_FILE, checked_entries

FIRST_GOLDEN_FILE = "first_stage.npz"
"""Outputs of the first stage for the examples of the golden file."""
FIRST_GOLDEN_ENTRIES = {"raw.npy"}

GOLDEN_TOLERANCE = 1e-3
"""Allowed difference of a raw output from its golden value, absolute and relative; engines agree to about 1e-5."""
MAX_EXAMPLES = 1000

_ENTRIES = {"stamps.npy", "inputs.npy", "raw.npy"}
_PHOTOMETRY_ENTRIES = {"photometry.npy", "photometry_inputs.npy"}
_MAX_HEADER = 1000


@dataclass(frozen=True)
class Golden:
    """Examples with the outputs that a network must give."""

    stamps: np.ndarray
    """(object, y, x, band) nJy."""
    inputs: np.ndarray
    """The same scaled."""
    photometry: np.ndarray | None = None
    """(object, 2, band) measured fluxes and their errors, nJy, where the network takes them."""
    photometry_inputs: np.ndarray | None = None
    """(object, 2 * band), the same scaled."""
    raw: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    """(object, output)."""

    @property
    def network_inputs(self) -> Any:
        """As a Keras model takes them: one array, or a list."""
        return self.inputs if self.photometry_inputs is None else [self.inputs, self.photometry_inputs]

    @property
    def fluxes(self) -> tuple[np.ndarray, np.ndarray] | tuple[None, None]:
        """Measured fluxes and their errors, both (object, band) nJy, where the network takes them."""
        return (None, None) if self.photometry is None else (self.photometry[:, 0], self.photometry[:, 1])


def golden_entries(card: Card) -> set[str]:
    """Files in the golden file of a card."""
    return _ENTRIES | (_PHOTOMETRY_ENTRIES if card.photometry else set())


def read_golden(folder: str | Path, card: Card) -> Golden:
    """Examples of the golden file, whose digest is that of the card.

    Raises
    ------
    ModelError
        Where the file lacks an array or one has another shape than the card says.
    """
    arrays = read_arrays(folder, GOLDEN_FILE, card.sha256, golden_entries(card))
    n = len(arrays["raw"])
    shapes = {"stamps": (n, *card.input_shape), "inputs": (n, *card.input_shape), "raw": (n, card.n_outputs)}
    if card.photometry is not None:
        shapes |= {"photometry": (n, 2, len(card.bands)), "photometry_inputs": (n, 2 * len(card.bands))}
    wrong = [f"{name} {arrays[name].shape}" for name, shape in shapes.items() if arrays[name].shape != shape]
    if wrong or n == 0:
        expected = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ModelError(f"{GOLDEN_FILE} has {', '.join(wrong) or 'no examples'}, expected {expected} with at least one example")
    return Golden(**arrays)


def read_first_golden(folder: str | Path, card: Card) -> Golden:
    """Examples of the golden file with the outputs of the first stage."""
    golden = read_golden(folder, card)
    raw = read_arrays(folder, FIRST_GOLDEN_FILE, card.sha256, FIRST_GOLDEN_ENTRIES)["raw"]
    if raw.shape != (len(golden.raw), 1):
        raise ModelError(f"{FIRST_GOLDEN_FILE} has raw {raw.shape}, expected {(len(golden.raw), 1)}")
    return replace(golden, raw=raw)


def read_arrays(folder: str | Path, name: str, sha256: Mapping[str, str], entries: set[str]) -> dict[str, np.ndarray]:
    """Arrays of a golden file whose digest agrees: numbers, one example after the other along the first axis.

    Raises
    ------
    ModelError
        Where one is no array of numbers, or there are more examples than a check needs.
    """
    found = checked_entries(Path(folder), name, sha256, entries)
    try:
        arrays = {Path(entry).stem: _array(entry, content) for entry, content in found.items()}
    except (ValueError, TypeError, SyntaxError, RecursionError, OverflowError, MemoryError) as error:
        raise ModelError(f"{name} cannot be read: {error}") from error
    n = max(map(len, arrays.values()))
    if n > MAX_EXAMPLES:
        raise ModelError(f"{name} has {n} examples, expected at most {MAX_EXAMPLES}")
    return arrays


def _array(name: str, content: bytes) -> np.ndarray:
    """An array in numpy's format; numpy itself would make room for whatever the header declares."""
    stream = io.BytesIO(content)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError(f"{name} is written in another version of numpy's format than 1.0")
    shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(stream, max_header_size=_MAX_HEADER)
    if dtype.str not in ("<f4", "<f8"):
        raise ValueError(f"{name} has the type {dtype}, expected float32 or float64")
    if not shape or any(size < 0 for size in shape) or math.prod(shape) * dtype.itemsize != len(content) - stream.tell():
        raise ValueError(f"{name} says that it has the shape {shape}, but holds {len(content) - stream.tell()} bytes")
    return np.frombuffer(content, dtype, offset=stream.tell()).reshape(shape, order="F" if is_fortran else "C")


def golden_difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference between two arrays of raw outputs, relative where the expected value is above 1; inf with NaN."""
    if found.shape != expected.shape:
        return float("inf")
    with np.errstate(all="ignore"):
        difference = np.abs(found - expected) / np.maximum(1, np.abs(expected))
    return float(np.where(np.isfinite(difference), difference, np.inf).max(initial=0.0))
