"""What the networks share: batches, the training, weights as arrays, and outputs from an engine."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

from surveycnn.errors import ModelError
from surveycnn.evaluation.methods.method import Learner, Log, Rows
from surveycnn.evaluation.methods.pixels import filled, noise_of
from surveycnn.inference.engines import Engine, make_engine, resolve_kind
from surveycnn.models.backend import import_keras
from surveycnn.training.data import LabelledStamps

N_FOR_NOISE = 1000
SCORING_BATCH = 128
"""Divides the chunks of the scoring, so that only the last batch of a set is filled up."""


class NetworkLearner(Learner):
    """A Keras network from prepared stamps to outputs without an activation.

    A subclass gives the network, its input, its augmentation, its loss, and makes answers of the outputs in `apply`.
    """

    dtype = "float32"
    """Keras dtype policy of the training; scores are computed in float32."""

    def __init__(self, *, n_train: int, epochs: int, batch_size: int, rate: float) -> None:
        super().__init__(n_train=n_train)
        self.epochs = self.checked("epochs", epochs)
        self.batch_size = self.checked("batch_size", batch_size)
        self.rate = rate
        self._engines: dict[str, tuple[int, Engine]] = {}

    @abstractmethod
    def build(self, shape: tuple[int, ...], dtype: str) -> Any:
        """Keras model from input of `shape` (y, x, band) to outputs (object, output); its last layer is dense."""

    @abstractmethod
    def prepare(self, stamps: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Values that are augmented, float32, of stamps (object, y, x, band) nJy without NaN; `noise` from `scale_of`."""

    def augment(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Prepared stamps as the training sees them this time."""
        return images

    def arrange(self, images: np.ndarray) -> np.ndarray:
        """Input of the network from prepared stamps, augmented or not."""
        return images

    def scale_of(self, stamps: np.ndarray) -> np.ndarray:
        """What scales the input, from training stamps nJy with NaN: the median of their noise (band,) float32."""
        return np.median(noise_of(stamps), axis=0).astype(np.float32)

    def targets(self, labels: np.ndarray) -> np.ndarray:
        """What the loss takes (object, value) float32 of the labels (object, ...)."""
        return np.asarray(labels, np.float32).reshape(len(labels), -1)

    def loss(self) -> Any:
        """Keras loss of (targets, outputs)."""
        return import_keras().losses.BinaryCrossentropy(from_logits=True)

    def rates(self, n_steps: int) -> Any:
        """Learning rates over `n_steps` batches as Keras takes them: a cosine from `rate` to zero."""
        return import_keras().optimizers.schedules.CosineDecay(self.rate, n_steps)

    def learn(self, stamps: Rows, labels: np.ndarray, valid: LabelledStamps, *, seed: int, log: Log) -> dict[str, np.ndarray]:
        """The weights and what scales the stamps."""
        noise = self.scale_of(stamps[:N_FOR_NOISE])
        trained = self.train_network(stamps, self.targets(labels), noise, seed=seed, log=log, label=self.name)
        n_weights = trained.pop("n_weights")
        return trained | {"noise": noise, "n_weights": n_weights}

    def train_network(
        self, stamps: Rows, targets: np.ndarray, noise: np.ndarray, *, seed: int, log: Log, label: str
    ) -> dict[str, np.ndarray]:
        """One network, trained on `targets` (object, value): ``weight_0000`` and so on, the input's ``shape``, ``n_weights``."""
        keras = import_keras()
        keras.utils.set_random_seed(seed)
        shape = self.arrange(self.prepare(filled(stamps[:1]), noise)).shape[1:]
        model = self.build(shape, self.dtype)
        n_steps = max(1, len(stamps) // self.batch_size) * self.epochs
        model.compile(keras.optimizers.Adam(self.rates(n_steps)), self.loss(), jit_compile=False)  # XLA is slower on a CPU
        for epoch in range(self.epochs):
            started = time.monotonic()
            batches = self._batches(stamps, targets, noise, [seed, epoch])
            history = model.fit(batches, epochs=1, shuffle=False, verbose=0).history
            speed = len(batches) * min(self.batch_size, len(stamps)) / (time.monotonic() - started)
            log(f"{label}: epoch {epoch + 1}/{self.epochs} loss {history['loss'][0]:.4f}, {speed:.0f} stamps/s")
        weights = {f"weight_{number:04d}": value for number, value in enumerate(model.get_weights())}
        return weights | {"shape": np.array(shape), "n_weights": np.asarray(count_trained(model))}

    def raw_outputs(self, stamps: np.ndarray, state: dict[str, np.ndarray], prefix: str = "") -> np.ndarray:
        """Outputs (object, output) float64 of the network whose arrays in `state` begin with `prefix`; stamps nJy with NaN."""
        images = self.arrange(self.prepare(filled(stamps), state["noise"]))
        engine, parts = self._engine(state, prefix), []
        for start in range(0, len(images), SCORING_BATCH):
            batch = images[start : start + SCORING_BATCH]
            padded = np.zeros((SCORING_BATCH, *images.shape[1:]), np.float32)
            padded[: len(batch)] = batch
            parts.append(engine(padded)[: len(batch)])
        outputs = np.concatenate(parts).astype(np.float64)
        if not np.isfinite(outputs).all():
            raise ModelError(f"the network of the method {self.name!r} gives outputs that are not finite: fit it again")
        return outputs

    def scored(self, model: Any) -> Any:
        """The Keras model whose outputs are computed."""
        return model

    def _engine(self, state: dict[str, np.ndarray], prefix: str) -> Engine:
        """The network, compiled once per state."""
        if self._engines.get(prefix, (0,))[0] != id(state):
            model = self.build(tuple(int(length) for length in state[f"{prefix}shape"]), "float32")
            model.set_weights(weights_of(state, prefix))
            engine = make_engine(resolve_kind("auto"), self.scored(model), batch_size=SCORING_BATCH)
            self._engines[prefix] = (id(state), engine)
        return self._engines[prefix][1]

    def _batches(self, stamps: Rows, targets: np.ndarray, noise: np.ndarray, seed: list[int]) -> Any:
        """Keras dataset of one epoch."""

        def load(members: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
            images = self.prepare(filled(stamps[members]), noise)
            return self.arrange(self.augment(images, rng)), targets[members].astype(np.float32)

        return batches_of(len(stamps), self.batch_size, seed, load)


def batches_of(n: int, batch_size: int, seed: list[int], load: Callable[..., tuple[np.ndarray, np.ndarray]]) -> Any:
    """Keras dataset of one pass in an order of its own; a batch depends on the seed and its number alone.

    `load` gives input and targets for ascending numbers of objects and a random generator.
    """
    base: Any = import_keras().utils.PyDataset
    order = np.random.default_rng(seed).permutation(n)
    size = min(batch_size, n)

    class Batches(base):
        def __len__(self) -> int:
            return n // size

        def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
            members = np.sort(order[number * size : (number + 1) * size])
            return load(members, np.random.default_rng([*seed, number]))

    return Batches(workers=1)


def count_trained(model: Any) -> int:
    """Number of weights that the training of a Keras model changes by its gradients."""
    return int(sum(np.prod(weight.shape) for weight in model.trainable_weights))


def weights_of(state: dict[str, np.ndarray], prefix: str = "") -> list[np.ndarray]:
    """Weights of a network, in Keras's order."""
    return [state[name] for name in sorted(state) if name.startswith(f"{prefix}weight_")]
