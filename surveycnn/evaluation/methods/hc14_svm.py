"""Support vector machines on measured structure, in the manner of galSVM."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from surveycnn.evaluation.methods.linear import standardisation
from surveycnn.evaluation.methods.method import Log, Rows, in_chunks
from surveycnn.evaluation.methods.structure import measure_structure
from surveycnn.evaluation.methods.votes import N_ANSWERS, MorphologyLearner, answer_slices
from surveycnn.models.morphology import QUESTIONS
from surveycnn.training.data import LabelledStamps

MIN_VOTES, MIN_EXAMPLES = 5, 10
PENALTY, WIDTH = 3.0, 0.5
"""C, and gamma of the kernel times the number of features."""
MAX_SIGMA = 4.0
"""Standardised features are kept within this."""
N_FOLDS = 3


class HuertasCompany14(MorphologyLearner):
    """Support vector machines on concentration, asymmetry and their like (Huertas-Company et al. 2008, A&A 478, 971; 2014).

    Concentration, asymmetry, smoothness, Gini, M20, multimode, intensity, deviation, sizes, ellipticity and Sersic index in r,
    measured with statmorph (Rodriguez-Gomez et al. 2019), the magnitude r and the colours g - r and r - i; one machine with a
    Gaussian kernel for each answer against the others, its distance made a probability (Platt 1999) and the answers of a question
    normalised. Labels are the most voted answers of galaxies with 5 votes or more on the question; an answer with fewer than 10
    galaxies gets the fraction 0, a question with fewer than two answers none. What cannot be measured is set to the median.
    """

    name = "hc14_svm"
    title = "Structure + SVM (HC14)"
    reference = "Huertas-Company et al. 2014 (galSVM)"

    def __init__(self, *, n_train: int = 3000, n_workers: int = 2) -> None:
        super().__init__(n_train=n_train)
        self._n_workers = self.checked("n_workers", n_workers)
        self._folder: Path | None = None

    def fit(self, train: LabelledStamps, valid: LabelledStamps, *, folder: Path, seed: int, log: Log) -> None:
        """As Learner.fit; measurements of stamps, those to be judged too, are kept in `folder`/statmorph."""
        self._folder = folder / "statmorph"
        super().fit(train, valid, folder=folder, seed=seed, log=log)

    def select(self, labels: np.ndarray, seed: int) -> np.ndarray:
        """`n_train` of those with 5 votes on the first question."""
        asked = np.flatnonzero(labels[:, next(iter(answer_slices().values()))].sum(axis=1) >= MIN_VOTES)
        return np.sort(np.random.default_rng([seed, 1]).permutation(asked)[: self.n_train])

    def learn(self, stamps: Rows, labels: np.ndarray, valid: LabelledStamps, *, seed: int, log: Log) -> dict[str, np.ndarray]:
        """Medians, standardisation, and a machine per answer under ``<question>/<answer>/``."""
        log(f"{self.name}: measuring {len(stamps)} stamps")
        features = in_chunks(stamps, self._measured)
        known = np.isfinite(features).any(axis=0)
        median = np.zeros(features.shape[1])
        median[known] = np.nanmedian(features[:, known], axis=0)
        mean, scatter = standardisation(np.where(np.isfinite(features), features, median))
        state = {"median": median, "mean": mean, "scatter": scatter}
        scaled = _scaled(features, state)
        for question, columns in answer_slices().items():
            votes = labels[:, columns]
            asked = votes.sum(axis=1) >= MIN_VOTES
            best = votes[asked].argmax(axis=1)
            answers = [number for number in range(votes.shape[1]) if np.sum(best == number) >= MIN_EXAMPLES]
            if len(answers) < 2:
                log(f"{self.name}: {question}: fewer than two answers have {MIN_EXAMPLES} galaxies, left out")
                continue
            # of two answers the second one has what the first one lacks
            for number in answers[:1] if len(answers) == 2 else answers:
                machine = fit_machine(scaled[asked], best == number, seed)
                state |= {f"{question}/{number}/{name}": value for name, value in machine.items()}
            state[f"{question}/answers"] = np.array(answers)
        return state

    def apply(self, stamps: np.ndarray, state: dict[str, np.ndarray]) -> np.ndarray:
        """Expected vote fractions (object, answer): the probabilities of the answers."""
        scaled = _scaled(self._measured(stamps), state)
        fractions = np.full((len(stamps), N_ANSWERS), np.nan)
        for question, columns in answer_slices().items():
            if f"{question}/answers" not in state:
                continue
            answers = [int(number) for number in state[f"{question}/answers"]]
            chance = np.zeros((len(stamps), len(QUESTIONS[question])))
            for number in answers[:1] if len(answers) == 2 else answers:
                chance[:, number] = machine_probability(scaled, state, f"{question}/{number}/")
            if len(answers) == 2:
                chance[:, answers[1]] = 1 - chance[:, answers[0]]
            fractions[:, columns] = chance / chance.sum(axis=1, keepdims=True)
        return fractions

    def _measured(self, stamps: np.ndarray) -> np.ndarray:
        return measure_structure(stamps, self._folder, self._n_workers)


def _scaled(features: np.ndarray, state: dict[str, np.ndarray]) -> np.ndarray:
    """Standardised features (object, feature), the median where there is none."""
    complete = np.where(np.isfinite(features), features, state["median"])
    return np.clip((complete - state["mean"]) / state["scatter"], -MAX_SIGMA, MAX_SIGMA)


def fit_machine(scaled: np.ndarray, is_answer: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Support vectors, and slope and offset from distance to logit, of features (object, feature) and labels (object,) bool."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.svm import SVC

    gamma = WIDTH / scaled.shape[1]
    machine = SVC(C=PENALTY, gamma=gamma)
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=seed)
    distance = cross_val_predict(machine, scaled, is_answer, cv=folds, method="decision_function")
    platt = LogisticRegression().fit(distance[:, None], is_answer)
    machine.fit(scaled, is_answer)
    return {
        "vectors": machine.support_vectors_,
        "duals": machine.dual_coef_[0],
        "intercept": machine.intercept_[0],
        "gamma": np.asarray(gamma),
        "slope": platt.coef_[0, 0],
        "offset": platt.intercept_[0],
    }


def machine_probability(scaled: np.ndarray, state: dict[str, np.ndarray], prefix: str) -> np.ndarray:
    """Probability (object,) of an answer, above 0, by the machine whose arrays in `state` begin with `prefix`."""
    part = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    vectors = part["vectors"]
    squared = (scaled**2).sum(axis=1)[:, None] - 2 * scaled @ vectors.T + (vectors**2).sum(axis=1)
    distance = np.exp(-float(part["gamma"]) * np.clip(squared, 0, None)) @ part["duals"] + float(part["intercept"])
    logit = float(part["slope"]) * distance + float(part["offset"])
    return 1 / (1 + np.exp(-np.clip(logit, -30, 30)))
