"""What a method of the literature offers, and what those that learn share: the subset they see, what is kept on disk, chunks."""

from __future__ import annotations

import hashlib
import json
import os
import time
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np

from surveycnn.errors import ConfigError, InputError, ModelError
from surveycnn.training.data import LabelledStamps

Log = Callable[[str], None]

BANDS = ("g", "r", "i")
CHUNK = 1024
"""Stamps handled at once; a multiple of the networks' batches."""


class Method(Protocol):
    """A classifier of morphology or mergers, or an estimator of redshifts, that is trained on a set and then judges stamps."""

    name: ClassVar[str]
    title: ClassVar[str]
    reference: ClassVar[str]
    task: ClassVar[str]
    mix: ClassVar[str]
    """Mix of the simulation that it is trained on and judges."""
    n_train: int
    """Stamps that it learns from, at most."""

    @property
    def n_learned(self) -> int | None:
        """Stamps that it learned from; None before the fit."""

    @property
    def n_passes(self) -> int | None:
        """Passes through them; None where it is not fitted in passes."""

    @property
    def n_weights(self) -> int | None:
        """Weights that were trained; None where it is no network, or not fitted."""

    def fit(self, train: LabelledStamps, valid: LabelledStamps, *, folder: Path, seed: int, log: Log) -> None:
        """Train, or load what an earlier identical call left in `folder`."""

    def predict(self, stamps: np.ndarray) -> np.ndarray | dict[str, np.ndarray]:
        """What the method makes of stamps (object, y, x, band) in nJy.

        Expected vote fractions (object, answer), NaN for questions without an answer; merger probabilities (object,); for
        redshifts the arrays of surveycnn.evaluation.methods.redshifts by name.
        """


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

    def subset(self, rows: np.ndarray) -> Rows:
        """Those of ascending numbers."""
        return Rows(self._stamps, self._members[rows])


class Learner(ABC):
    """A method whose state after the training is a handful of arrays, kept under a hash of everything that it came from.

    Public attributes are the settings. A subclass learns the arrays in `learn` and applies them in `apply`.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    reference: ClassVar[str]
    task: ClassVar[str]
    bands: ClassVar[tuple[str, ...]] = BANDS
    mix: ClassVar[str] = "train"
    chooses: ClassVar[bool] = False
    """Whether the state depends on the validation set."""

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

    @property
    def n_learned(self) -> int | None:
        """Stamps that it learned from; None before the fit."""
        return self._number("n_learned")

    @property
    def n_weights(self) -> int | None:
        """Weights that were trained; None where it is no network, or not fitted."""
        return self._number("n_weights")

    @property
    def n_passes(self) -> int | None:
        """Passes through the training stamps; None where it is not fitted in passes."""
        return getattr(self, "epochs", None)

    @abstractmethod
    def labels_of(self, data: LabelledStamps) -> np.ndarray:
        """What is learned of each stamp (object, ...)."""

    @abstractmethod
    def check_labels(self, what: str, data: LabelledStamps) -> None:
        """Raise an InputError where a set cannot be learned from; `what` names it."""

    @abstractmethod
    def learn(self, stamps: Rows, labels: np.ndarray, valid: LabelledStamps, *, seed: int, log: Log) -> dict[str, np.ndarray]:
        """What the method takes from training stamps (object, y, x, band) nJy with NaN and their labels (object, ...)."""

    @abstractmethod
    def apply(self, stamps: np.ndarray, state: dict[str, np.ndarray]) -> np.ndarray:
        """Answers (object, ...) float64 for at most `CHUNK` stamps, nJy with NaN."""

    def select(self, labels: np.ndarray, seed: int) -> np.ndarray:
        """Ascending numbers of the stamps that are learned from: `n_train` at random."""
        return np.sort(np.random.default_rng([seed, 1]).permutation(len(labels))[: self.n_train])

    def fit(self, train: LabelledStamps, valid: LabelledStamps, *, folder: Path, seed: int, log: Log) -> None:
        """Train on up to `n_train` stamps of `train`, or load what an earlier identical call left in `folder`.

        Parameters
        ----------
        valid
            Where a method has a setting to choose, the one that does best here is taken.

        Raises
        ------
        InputError
            Where a set is of another task, has other bands than `bands`, or lacks what is to be learned.
        """
        for what, data in (("training", train), ("validation", valid)):
            self._check_set(what, data)
        labels = self.labels_of(train)
        kept = folder / f"{self.name}-{self._key(train, valid, seed)}" / "fitted.npz"
        if kept.is_file():
            with np.load(kept, allow_pickle=False) as arrays:
                self._state = {name: arrays[name] for name in arrays.files}
            log(f"{self.name}: loaded, trained before")
            return
        started = time.monotonic()
        members = self.select(labels, seed)
        learned = self.learn(Rows(train.stamps, members), labels[members], valid, seed=seed, log=log)
        self._state = {"n_learned": np.asarray(len(members))} | learned
        write_arrays(kept, self._state)
        log(f"{self.name}: trained on {self.n_learned} stamps in {time.monotonic() - started:.0f} s")

    def outputs(self, stamps: np.ndarray) -> np.ndarray:
        """Answers (object, ...) float64 for stamps (object, y, x, band) in nJy, NaN = no data; may be a memory map.

        Raises
        ------
        ModelError
            Where the method has not been fitted.
        InputError
            Where the shape is another one.
        """
        check_stamps(stamps, self.bands)
        if self._state is None:
            raise ModelError(f"the method {self.name!r} has not been trained: call fit first")
        return in_chunks(stamps, partial(self.apply, state=self._state))

    def settings(self) -> dict[str, object]:
        """The settings of the method, by name."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def _number(self, name: str) -> int | None:
        return int(self._state[name]) if self._state and name in self._state else None

    def _key(self, train: LabelledStamps, valid: LabelledStamps, seed: int) -> str:
        """Hash of the method, its settings, the seed and what it learns from: shape, labels and pixels of the first stamps."""
        about: list[object] = [self.name, self.settings(), seed, list(train.stamps.shape), *self._checksums(train)]
        if self.chooses:
            about += [len(valid), *self._checksums(valid)]
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:12]

    def _checksums(self, data: LabelledStamps) -> list[int]:
        pixels = np.ascontiguousarray(data.stamps[:8])
        return [zlib.crc32(np.ascontiguousarray(part).tobytes()) for part in (self.labels_of(data), pixels)]

    def _check_set(self, what: str, data: LabelledStamps) -> None:
        if data.task != self.task:
            raise InputError(f"the {what} set is one of the task {data.task!r}, the method {self.name!r} needs {self.task!r}")
        if tuple(data.bands) != self.bands:
            raise InputError(
                f"the {what} set has the bands {', '.join(data.bands)}, the method {self.name!r} needs {', '.join(self.bands)}"
            )
        check_stamps(data.stamps, self.bands)
        self.check_labels(what, data)


def check_both(what: str, positive: np.ndarray, name: str) -> None:
    """Raise an InputError unless some of `positive` (object,) bool are true and some are not; `name` is that of the true ones."""
    n = int(np.sum(positive))
    if not 0 < n < len(positive):
        raise InputError(f"the {what} set has {n} {name} among {len(positive)} stamps: {name} and others are needed")


def in_chunks(stamps: np.ndarray | Rows, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Rows of `function` for all stamps, `CHUNK` at a time in float32; (0,) for none."""
    starts = range(0, len(stamps), CHUNK)
    if not starts:
        return np.empty(0)
    return np.concatenate([function(np.asarray(stamps[start : start + CHUNK], np.float32)) for start in starts])


def check_stamps(stamps: np.ndarray, bands: Sequence[str] = BANDS) -> None:
    """Raise an InputError unless the shape is (object, y, x, band) with as many bands."""
    shape = tuple(stamps.shape)
    if len(shape) != 4 or shape[3] != len(bands):
        raise InputError(
            f"stamps have the shape {shape}, expected (object, y, x, {len(bands)}) with the bands {', '.join(bands)}"
        )


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays to one file that is there as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.npz")
    np.savez(temporary, **arrays)  # type: ignore[arg-type]  # numpy's stub takes the names for its flag allow_pickle
    os.replace(temporary, path)
