"""What the two networks share: batches, the training, and logits in float64."""

from __future__ import annotations

import time
from abc import abstractmethod
from typing import Any

import numpy as np

from surveycnn.challenge.zoo.method import Finder, Log, Rows
from surveycnn.challenge.zoo.pixels import filled, noise_of
from surveycnn.inference.engines import Engine, make_engine, resolve_kind
from surveycnn.models.backend import import_keras
from surveycnn.training.data import LabelledStamps

N_FOR_NOISE = 1000
SCORING_BATCH = 128
"""Divides the chunks of the scoring, so that only the last batch of a set is filled up."""


class NetworkFinder(Finder):
    """A Keras network from prepared stamps to one logit; a subclass gives the network, its input and its augmentation."""

    dtype = "float32"
    """Keras dtype policy of the training; scores are computed in float32, their last layer in float64."""

    def __init__(self, *, n_train: int, epochs: int, batch_size: int, rate: float) -> None:
        super().__init__(n_train=n_train)
        self.epochs = self.checked("epochs", epochs)
        self.batch_size = self.checked("batch_size", batch_size)
        self.rate = rate
        self._scorer: tuple[int, Engine] | None = None

    @abstractmethod
    def build(self, shape: tuple[int, ...], dtype: str) -> Any:
        """Keras model from prepared stamps of `shape` (y, x, band) to a logit (object, 1); its last layer is dense."""

    @abstractmethod
    def prepare(self, stamps: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Input of the network, float32, of stamps (object, y, x, band) nJy without NaN; `noise` (band,) of the training set."""

    @abstractmethod
    def augment(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Prepared stamps as the training sees them this time."""

    def rates(self, n_steps: int) -> Any:
        """Learning rates over `n_steps` batches as Keras takes them: a cosine from `rate` to zero."""
        return import_keras().optimizers.schedules.CosineDecay(self.rate, n_steps)

    def learn(self, stamps: Rows, is_lens: np.ndarray, valid: LabelledStamps, *, seed: int, log: Log) -> dict[str, np.ndarray]:
        """The weights and the noise of the training set that scales the stamps."""
        keras = import_keras()
        keras.utils.set_random_seed(seed)
        noise = np.median(noise_of(stamps[:N_FOR_NOISE]), axis=0).astype(np.float32)
        model = self.build(stamps.shape[1:], self.dtype)
        n_steps = max(1, len(stamps) // self.batch_size) * self.epochs
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(self.rates(n_steps)), loss, jit_compile=False)  # XLA is slower on a CPU
        for epoch in range(self.epochs):
            started = time.monotonic()
            batches = self._batches(stamps, is_lens, noise, [seed, epoch])
            history = model.fit(batches, epochs=1, shuffle=False, verbose=0).history
            speed = len(batches) * self.batch_size / (time.monotonic() - started)
            log(f"{self.name}: epoch {epoch + 1}/{self.epochs} loss {history['loss'][0]:.4f}, {speed:.0f} stamps/s")
        weights = {f"weight_{number:04d}": value for number, value in enumerate(model.get_weights())}
        return weights | {"noise": noise, "shape": np.array(stamps.shape[1:])}

    def rank(self, stamps: np.ndarray, state: dict[str, np.ndarray]) -> np.ndarray:
        """Logits (object,): 50,000 of them in float32 would have ties by rounding alone."""
        images = self.prepare(filled(stamps), state["noise"])
        engine, parts = self._engine(state), []
        for start in range(0, len(images), SCORING_BATCH):
            batch = images[start : start + SCORING_BATCH]
            padded = np.zeros((SCORING_BATCH, *images.shape[1:]), np.float32)
            padded[: len(batch)] = batch
            parts.append(engine(padded)[: len(batch)])
        kernel, bias = _weights(state)[-2:]
        return np.einsum("of,f->o", np.concatenate(parts).astype(np.float64), kernel[:, 0].astype(np.float64)) + float(bias[0])

    def _engine(self, state: dict[str, np.ndarray]) -> Engine:
        """The network without its last layer, compiled once per state."""
        if self._scorer is None or self._scorer[0] != id(state):
            model = self.build(tuple(int(length) for length in state["shape"]), "float32")
            model.set_weights(_weights(state))
            features = import_keras().Model(model.input, model.layers[-1].input)
            self._scorer = (id(state), make_engine(resolve_kind("auto"), features, batch_size=SCORING_BATCH))
        return self._scorer[1]

    def _batches(self, stamps: Rows, is_lens: np.ndarray, noise: np.ndarray, seed: list[int]) -> Any:
        """Keras dataset of one epoch; a batch depends on the seed and its number alone."""
        base: Any = import_keras().utils.PyDataset
        order = np.random.default_rng(seed).permutation(len(stamps))
        size = min(self.batch_size, len(stamps))

        class Batches(base):
            def __len__(batches) -> int:  # noqa: N805
                return len(order) // size

            def __getitem__(batches, number: int) -> tuple[np.ndarray, np.ndarray]:  # noqa: N805
                members = np.sort(order[number * size : (number + 1) * size])
                rng = np.random.default_rng([*seed, number])
                images = self.prepare(filled(stamps[members]), noise)
                return self.augment(images, rng), is_lens[members, None].astype(np.float32)

        return Batches(workers=1)


def _weights(state: dict[str, np.ndarray]) -> list[np.ndarray]:
    return [state[name] for name in sorted(state) if name.startswith("weight_")]
