"""What every finder of the zoo offers, and what those that learn share: the subset they see, what is kept on disk, chunks."""

from __future__ import annotations

import hashlib
import json
import os
import time
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np

from surveycnn.errors import ConfigError, InputError, ModelError
from surveycnn.training.data import LabelledStamps

Log = Callable[[str], None]

BANDS = ("g", "r", "i")
CHUNK = 1024
"""Stamps scored at once; a multiple of the networks' batches."""


@dataclass(frozen=True)
class Published:
    """Figures of an entry in the ground branch of the challenge (Metcalf et al. 2019, arXiv 1802.03609, table 3)."""

    entry: str
    auroc: float
    tpr0: float
    """True positive rate before the first false positive."""
    tpr10: float
    """True positive rate with fewer than ten false positives."""


class Method(Protocol):
    """A lens finder that is trained on a set and then ranks stamps."""

    name: ClassVar[str]
    title: ClassVar[str]
    reference: ClassVar[str]
    published: ClassVar[Published | None]

    def fit(self, train: LabelledStamps, valid: LabelledStamps, *, folder: Path, seed: int, log: Log) -> None:
        """Train, or load what an earlier identical call left in `folder`."""

    def score(self, stamps: np.ndarray) -> np.ndarray:
        """Scores (object,) float64, higher = more like a lens, of stamps (object, y, x, band) in nJy, NaN = no data."""


class Rows:
    """Some rows of a set of stamps, read where they lie as they are asked for."""

    def __init__(self, stamps: np.ndarray, members: np.ndarray) -> None:
        self._stamps, self._members = stamps, members
        self.shape: tuple[int, ...] = (len(members), *stamps.shape[1:])

    def __len__(self) -> int:
        return len(self._members)

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """Stamps (object, y, x, band) float32 of a slice, or of ascending numbers."""
        return np.asarray(self._stamps[self._members[rows]], np.float32)


class Finder(ABC):
    """A method whose state after the training is a handful of arrays, kept under a hash of everything that it came from.

    Public attributes are the settings. A subclass learns the arrays in `learn` and ranks with them in `rank`.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    reference: ClassVar[str]
    published: ClassVar[Published | None] = None

    def __init__(self, *, n_train: int) -> None:
        self.n_train = self.checked("n_train", n_train)
        self._state: dict[str, np.ndarray] | None = None

    def checked(self, setting: str, value: int) -> int:
        """`value`, which has to be 1 or more.

        Raises
        ------
        ConfigError
            Where it is not.
        """
        if value < 1:
            raise ConfigError(f"{setting} of the method {self.name!r} is {value!r}, expected a whole number from 1")
        return value

    @abstractmethod
    def learn(self, stamps: Rows, is_lens: np.ndarray, valid: LabelledStamps, *, seed: int, log: Log) -> dict[str, np.ndarray]:
        """What the method takes from training stamps (object, y, x, band) nJy with NaN and labels (object,) bool."""

    @abstractmethod
    def rank(self, stamps: np.ndarray, state: dict[str, np.ndarray]) -> np.ndarray:
        """Scores (object,) float64 of at most `CHUNK` stamps, nJy with NaN."""

    def fit(self, train: LabelledStamps, valid: LabelledStamps, *, folder: Path, seed: int, log: Log) -> None:
        """Train on up to `n_train` stamps of `train`, or load what an earlier identical call left in `folder`.

        Parameters
        ----------
        valid
            Where a method has a setting to choose, the one with the best AUROC here is taken.

        Raises
        ------
        InputError
            Where a set has other bands than g, r, i, or not both lenses and others.
        """
        for what, data in (("training", train), ("validation", valid)):
            _check_set(what, data)
        kept = folder / f"{self.name}-{self._key(train, seed)}" / "fitted.npz"
        if kept.is_file():
            with np.load(kept, allow_pickle=False) as arrays:
                self._state = {name: arrays[name] for name in arrays.files}
            log(f"{self.name}: loaded, trained before")
            return
        started = time.monotonic()
        members = np.sort(np.random.default_rng([seed, 1]).permutation(len(train))[: self.n_train])
        is_lens = np.asarray(train.labels["is_lens"], bool)[members]
        self._state = self.learn(Rows(train.stamps, members), is_lens, valid, seed=seed, log=log)
        _write(kept, self._state)
        log(f"{self.name}: trained on {len(members)} stamps in {time.monotonic() - started:.0f} s")

    def score(self, stamps: np.ndarray) -> np.ndarray:
        """Scores (object,) float64 of stamps (object, y, x, band) in nJy, NaN = no data; may be a memory map.

        Raises
        ------
        ModelError
            Where the method has not been fitted.
        InputError
            Where the shape is another one.
        """
        check_stamps(stamps)
        if self._state is None:
            raise ModelError(f"the method {self.name!r} has not been trained: call fit before score")
        return in_chunks(stamps, partial(self.rank, state=self._state))

    def settings(self) -> dict[str, object]:
        """The settings of the method, by name."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def _key(self, train: LabelledStamps, seed: int) -> str:
        """Hash of the method, its settings, the seed and the set: its shape, its labels and the pixels of its first stamps."""
        pixels = zlib.crc32(np.ascontiguousarray(train.stamps[:8]).tobytes())
        labels = zlib.crc32(np.asarray(train.labels["is_lens"], bool).tobytes())
        about = [self.name, self.settings(), seed, list(train.stamps.shape), labels, pixels]
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:12]


def in_chunks(stamps: np.ndarray | Rows, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Rows of `function` for all stamps, `CHUNK` at a time in float32."""
    starts = range(0, len(stamps), CHUNK)
    if not starts:
        return np.empty(0)
    return np.concatenate([function(np.asarray(stamps[start : start + CHUNK], np.float32)) for start in starts])


def check_stamps(stamps: np.ndarray) -> None:
    """Raise an InputError unless the shape is (object, y, x, band) with the three bands."""
    shape = tuple(stamps.shape)
    if len(shape) != 4 or shape[3] != len(BANDS):
        raise InputError(f"stamps have the shape {shape}, expected (object, y, x, 3) with the bands {', '.join(BANDS)}")


def softplus(x: np.ndarray) -> np.ndarray:
    """log(1 + exp(x)): positive, keeps the order and, in float64, differences of scores far below zero too."""
    return np.logaddexp(0.0, np.asarray(x, np.float64))


def _check_set(what: str, data: LabelledStamps) -> None:
    if tuple(data.bands) != BANDS:
        raise InputError(f"the {what} set has the bands {', '.join(data.bands)}, the lens finders need {', '.join(BANDS)}")
    check_stamps(data.stamps)
    n_lenses = int(np.sum(np.asarray(data.labels["is_lens"], bool)))
    if not 0 < n_lenses < len(data):
        raise InputError(f"the {what} set has {n_lenses} lenses among {len(data)} stamps: lenses and others are needed")


def _write(path: Path, state: dict[str, np.ndarray]) -> None:
    """Write arrays to one file that is there as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name("part.npz")
    np.savez(temporary, **state)  # type: ignore[arg-type]  # numpy's stub takes the names for its flag allow_pickle
    os.replace(temporary, path)
