"""One binary network per question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from surveycnn.errors import ConfigError, InputError
from surveycnn.evaluation.methods.method import Log, Rows
from surveycnn.evaluation.methods.networks import NetworkLearner
from surveycnn.evaluation.methods.pixels import resized, turned_zoomed_shifted, unit_stretch
from surveycnn.evaluation.methods.votes import N_ANSWERS, MorphologyLearner, answer_slices, shares
from surveycnn.models.backend import import_keras
from surveycnn.models.morphology import QUESTIONS
from surveycnn.training.data import LabelledStamps

STAMP_PX = 69
MIN_VOTES, MIN_AGREEMENT = 5, 0.7
MIN_EXAMPLES = 5
ZOOM, SHIFT = (0.75, 1.3), 0.05

POSITIVE: dict[str, list[str]] = {
    "smooth_or_featured": ["featured_or_disk"],
    "disk_edge_on": ["yes"],
    "has_spiral_arms": ["yes"],
    "bar": ["strong", "weak"],
}
"""Answers for which the network of a question gives a probability, against NEGATIVE."""
NEGATIVE = {"smooth_or_featured": "smooth", "disk_edge_on": "no", "has_spiral_arms": "no", "bar": "no"}


class DominguezSanchez18(NetworkLearner, MorphologyLearner):
    """Binary networks for questions of Galaxy Zoo (Dominguez Sanchez et al. 2018, MNRAS 476, 3661).

    The published network, 2,602,849 weights each; each is trained on galaxies that have 5 votes on its question, more than 70 %
    of them for one side: featured or smooth, edge-on or not, spiral arms or not, a bar or none. Strong and weak bars share the
    probability of a bar as the training votes on bars do; artifacts get none. Other questions are not answered. The input of 64
    pixels is resampled to 69, its values from 0 to 1 are an arcsinh stretch in units of the noise, where the paper takes colour
    pictures. Turned, mirrored, zoomed by 0.75 to 1.3 and shifted by up to 5 %.

    `n_train` is the number of galaxies per question. Shorter than the paper's 50 epochs, for two CPU cores: see
    `epochs`.
    """

    name = "ds18"
    title = "Binary CNNs (DS18)"
    reference = "Dominguez Sanchez et al. 2018"
    dtype = "mixed_bfloat16"

    def __init__(
        self,
        *,
        n_train: int = 1500,
        epochs: int = 3,
        batch_size: int = 64,
        rate: float = 1e-3,
        questions: Sequence[str] = tuple(POSITIVE),
    ) -> None:
        super().__init__(n_train=n_train, epochs=epochs, batch_size=batch_size, rate=rate)
        unknown = [question for question in questions if question not in POSITIVE]
        if unknown or not questions:
            raise ConfigError(
                f"questions of the method 'ds18' are {list(questions)!r}, expected one or more of {', '.join(POSITIVE)}"
            )
        self.questions = list(questions)

    def build(self, shape: tuple[int, ...], dtype: str) -> Any:
        """The published network, its sigmoid left out."""
        return build_ds18(shape, dtype)

    def prepare(self, stamps: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Values from 0 to 1."""
        return unit_stretch(stamps, noise)

    def augment(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Turned, mirrored, zoomed, shifted, and resampled on the way."""
        return turned_zoomed_shifted(images, rng, zoom=ZOOM, shift=SHIFT, size=STAMP_PX)

    def arrange(self, images: np.ndarray) -> np.ndarray:
        """As 69 x 69 pixels."""
        return resized(images, STAMP_PX)

    def select(self, labels: np.ndarray, seed: int) -> np.ndarray:
        """All: each question has galaxies of its own, up to `n_train`."""
        return np.arange(len(labels))

    def learn(self, stamps: Rows, labels: np.ndarray, valid: LabelledStamps, *, seed: int, log: Log) -> dict[str, np.ndarray]:
        """The networks of the questions, their arrays under ``<question>/``, and the strong ones' share of the bars."""
        noise = self.scale_of(stamps[:1000])
        state: dict[str, np.ndarray] = {"noise": noise, "strong_share": np.asarray(strong_share(labels))}
        n_weights, seen = 0, []
        for number, question in enumerate(self.questions):
            members, is_positive = examples(labels[:, answer_slices()[question]], question)
            chosen = np.sort(np.random.default_rng([seed, 2, number]).permutation(len(members))[: self.n_train])
            members, is_positive = members[chosen], is_positive[chosen]
            _check_examples(question, is_positive)
            log(f"{self.name}: {question}: {int(is_positive.sum())} of {len(members)} galaxies are positive")
            found = self.train_network(
                stamps.subset(members), self.targets(is_positive), noise, seed=seed, log=log, label=f"{self.name}: {question}"
            )
            n_weights += int(found.pop("n_weights"))
            seen.append(members)
            state |= {f"{question}/{name}": value for name, value in found.items()}
        return state | {"n_weights": np.asarray(n_weights), "n_learned": np.asarray(len(np.unique(np.concatenate(seen))))}

    def apply(self, stamps: np.ndarray, state: dict[str, np.ndarray]) -> np.ndarray:
        """Expected vote fractions (object, answer)."""
        fractions = np.full((len(stamps), N_ANSWERS), np.nan)
        for question in self.questions:
            logit = self.raw_outputs(stamps, state, f"{question}/")[:, 0]
            fractions[:, answer_slices()[question]] = _spread(
                question, 1 / (1 + np.exp(-np.clip(logit, -500, 500))), float(state["strong_share"])
            )
        return fractions


def build_ds18(shape: tuple[int, ...] = (STAMP_PX, STAMP_PX, 3), dtype: str = "float32") -> Any:
    """Keras model from images of `shape` (y, x, band) to the logit (object, 1); `dtype` is a Keras dtype policy."""
    keras = import_keras()
    layers = keras.layers
    inputs = x = keras.Input(shape)
    for width, size, dropout, is_pooled in (
        (32, 6, 0.5, False),
        (64, 5, 0.25, True),
        (128, 2, 0.25, True),
        (128, 3, 0.25, False),
    ):
        x = layers.Conv2D(width, size, padding="same", activation="relu", dtype=dtype)(x)
        if is_pooled:
            x = layers.MaxPooling2D(dtype=dtype)(x)
        x = layers.Dropout(dropout, dtype=dtype)(x)
    x = layers.Dense(64, activation="relu", dtype=dtype)(layers.Flatten(dtype=dtype)(x))
    x = layers.Dropout(0.5, dtype=dtype)(x)
    return keras.Model(inputs, layers.Dense(1, dtype="float32")(x), name="ds18")


def examples(votes: np.ndarray, question: str) -> tuple[np.ndarray, np.ndarray]:
    """Ascending numbers of the galaxies whose votes (object, answer) agree, and which of them are positive."""
    answers, share = QUESTIONS[question], shares(votes)
    positive = share[:, [answers.index(answer) for answer in POSITIVE[question]]].sum(axis=1)
    negative = share[:, answers.index(NEGATIVE[question])]
    asked = votes.sum(axis=1) >= MIN_VOTES
    members = np.flatnonzero(asked & (np.fmax(positive, negative) > MIN_AGREEMENT))
    return members, positive[members] > MIN_AGREEMENT


def strong_share(labels: np.ndarray) -> float:
    """Fraction of strong ones among all votes (object, answer) for a bar; one half where there are none."""
    strong, weak = labels[:, answer_slices()["bar"]].sum(axis=0, dtype=np.float64)[:2]
    return float(strong / (strong + weak)) if strong + weak else 0.5


def _spread(question: str, probability: np.ndarray, strong: float) -> np.ndarray:
    """Fractions (object, answer) of a question from the probability (object,) of its positive answers."""
    if question == "smooth_or_featured":
        columns = [1 - probability, probability, np.zeros_like(probability)]
    elif question == "bar":
        columns = [probability * strong, probability * (1 - strong), 1 - probability]
    else:
        columns = [probability, 1 - probability]
    return np.stack(columns, axis=1)


def _check_examples(question: str, is_positive: np.ndarray) -> None:
    n = int(is_positive.sum())
    if min(n, len(is_positive) - n) < MIN_EXAMPLES:
        raise InputError(
            f"the training set has {n} positive and {len(is_positive) - n} negative galaxies on which the volunteers agree in "
            f"{question}, at least {MIN_EXAMPLES} of both are needed: simulate more, or leave the question out of `questions`"
        )
