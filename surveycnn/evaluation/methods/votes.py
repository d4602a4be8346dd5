"""What the morphology methods share: votes of all questions side by side, their fractions, and the shape of the answers."""

from __future__ import annotations

from typing import Any

import numpy as np

from surveycnn.errors import InputError
from surveycnn.evaluation.methods.method import Learner
from surveycnn.models.morphology import QUESTIONS
from surveycnn.training.data import LabelledStamps

N_ANSWERS = sum(map(len, QUESTIONS.values()))


def answer_slices() -> dict[str, slice]:
    """Columns of the answers to each question, in the order of QUESTIONS."""
    starts = np.cumsum([0, *map(len, QUESTIONS.values())])
    return {name: slice(int(start), int(stop)) for name, start, stop in zip(QUESTIONS, starts, starts[1:], strict=False)}


class MorphologyLearner(Learner):
    """A method that gives expected vote fractions."""

    task = "morphology"

    def labels_of(self, data: LabelledStamps) -> np.ndarray:
        """Votes (object, answer) of all questions."""
        return np.concatenate([np.asarray(data.labels[question]) for question in QUESTIONS], axis=1)

    def check_labels(self, what: str, data: LabelledStamps) -> None:
        """Raise an InputError where a question has no votes, or not those on its answers."""
        missing = [question for question in QUESTIONS if question not in data.labels]
        if missing:
            raise InputError(f"the {what} set has no votes on {', '.join(missing)}")
        for question, answers in QUESTIONS.items():
            shape = np.shape(data.labels[question])
            if shape != (len(data), len(answers)):
                raise InputError(
                    f"the votes on {question} in the {what} set have the shape {shape}, "
                    f"expected ({len(data)}, {len(answers)}) for the answers {', '.join(answers)}: simulate the set again"
                )

    def predict(self, stamps: np.ndarray) -> np.ndarray:
        """Expected vote fractions of stamps.

        Parameters
        ----------
        stamps
            (object, y, x, band) nJy, bands g, r, i, NaN = no data; may be a memory map.

        Returns
        -------
        np.ndarray
            (object, answer) float64, answers in the order of QUESTIONS; they sum to one in each question, NaN where the method
            does not answer it.

        Raises
        ------
        ModelError
            Where the method has not been fitted.
        InputError
            Where the shape is another one.
        """
        return self.outputs(stamps).reshape(-1, N_ANSWERS)


def shares(votes: np.ndarray) -> np.ndarray:
    """Vote fractions (object, answer) float64 of one question; NaN where nobody was asked."""
    total = np.asarray(votes, np.float64).sum(axis=1, keepdims=True)
    return np.divide(votes, total, out=np.full(votes.shape, np.nan), where=total > 0)


def softmax_per_question(raw: Any) -> np.ndarray:
    """Fractions (object, answer) that sum to one in each question, of outputs (object, answer)."""
    parts = []
    for columns in answer_slices().values():
        grown = np.exp(raw[:, columns] - raw[:, columns].max(axis=1, keepdims=True))
        parts.append(grown / grown.sum(axis=1, keepdims=True))
    return np.concatenate(parts, axis=1)
