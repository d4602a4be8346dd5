"""The challenge as the flow and the command line call it: simulate, train the methods, score everything, write the comparison."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from surveycnn import __version__
from surveycnn.challenge import plots, report
from surveycnn.challenge.assess import DEFINITIONS, assess, assess_population
from surveycnn.challenge.config import ChallengeConfig
from surveycnn.challenge.finders import Finder, Log, MethodFinder, ModelFinder, digest_of_set, kept_scores
from surveycnn.challenge.sets import SetSpec, check_seeds, held_out_sets, is_lens, open_set, training_sets
from surveycnn.errors import ModelError
from surveycnn.evaluation.entries import make_method
from surveycnn.evaluation.files import check_output, forget, write_files
from surveycnn.models.package import find_card
from surveycnn.training.data import LabelledStamps
from surveycnn.training.run import Messages

RECORD = "challenge.json"
WRITTEN = ("challenge.md", *plots.PICTURES)


@dataclass(frozen=True)
class Challenge:
    """A challenge that has been held."""

    folder: Path
    record: dict[str, Any]
    """What ``challenge.json`` holds."""

    def summary(self) -> str:
        """The table of all finders."""
        return report.summary(self.record)


def run_challenge(config: ChallengeConfig, *, fresh: bool = False, progress: Messages | None = None) -> Challenge:
    """Measure our lens finder and the methods of the literature on the same stamps; an interrupted call goes on.

    Parameters
    ----------
    fresh
        Simulate, train and score from nothing.

    Raises
    ------
    ConfigError
        Where a set could hold stamps that the model was trained on, or the output folder holds files of somebody else.
    ModelError
        Where the model is no lens model.
    """
    log = progress.message if progress else print
    card = find_card(config.model)
    if card.task != "lens":
        raise ModelError(f"key 'model': {config.model!r} is a {card.task} model, expected a lens model")
    check_seeds(config, card)
    check_output(config.output_path, RECORD, WRITTEN, "challenge")
    if fresh:
        forget(config.work_path, ("stamps/lens-*-seed*-n*", "zoo/*-fit-*", "scores/*/*.npz"))
    specs = held_out_sets(config)
    sets = {spec.name: _opened(spec, config, log) for spec in specs}
    record = describe(config, specs, sets)
    for finder in _finders(config, log):
        record["finders"][finder.name] = _measured(finder, specs, sets, config, log)
    _write(config.output_path, record)
    return Challenge(config.output_path, record)


def describe(config: ChallengeConfig, specs: list[SetSpec], sets: dict[str, LabelledStamps]) -> dict[str, Any]:
    """The record without its finders: what is measured on."""
    about: dict[str, Any] = {"version": __version__, "output": config.output, "config": config.model_dump(mode="json")}
    about["definitions"] = DEFINITIONS
    about["sets"] = {}
    for spec in specs:
        y = is_lens(sets[spec.name])
        kinds, counts = np.unique(np.asarray(sets[spec.name].truth["kind"]), return_counts=True)
        about["sets"][spec.name] = dataclasses.asdict(spec) | {
            "n_lenses": int(y.sum()),
            "n_negatives": int((~y).sum()),
            "kinds": dict(zip(map(str, kinds), map(int, counts), strict=True)),
        }
    about["finders"] = {}
    return about


def _opened(spec: SetSpec, config: ChallengeConfig, log: Log) -> LabelledStamps:
    log(f"set {spec.name}: {spec.n} stamps, mix {spec.mix}, conditions {spec.conditions}, seed {spec.seed}")
    return open_set(spec, config.work_path / "stamps", config.n_workers)


def _finders(config: ChallengeConfig, log: Log) -> Iterator[Finder]:
    """Our model, again behind its first stage where it has one, then each method as soon as it is trained."""
    from surveycnn.challenge.zoo import METHODS

    yield ModelFinder(config.model)
    if find_card(config.model).cascade is not None:
        yield ModelFinder(config.model, cascade=True)
    names = list(METHODS) if config.methods is None else config.methods
    if not names:
        return
    train, valid = (_opened(spec, config, log) for spec in training_sets(config))
    key = hashlib.sha256(f"{digest_of_set(train)} {digest_of_set(valid)} {config.seed}".encode()).hexdigest()[:12]
    for name in names:
        log(f"method {name}: fit on {len(train)} stamps")
        folder = config.work_path / "zoo" / f"{name}-fit-{key}"
        method = make_method(METHODS[name], config.zoo_epochs)
        yield MethodFinder(method, train, valid, folder=folder, seed=config.seed, log=log)


def _measured(
    finder: Finder, specs: list[SetSpec], sets: dict[str, LabelledStamps], config: ChallengeConfig, log: Log
) -> dict[str, Any]:
    """What the record says of a finder."""
    found: dict[str, Any] = {name: getattr(finder, name) for name in ("title", "reference", "prior", "n_train", "n_passes")}
    found["published"] = _plain(finder.published)
    found["sets"] = {}
    for spec in specs:
        log(f"finder {finder.name}: set {spec.name}")
        data = sets[spec.name]
        scores = kept_scores(finder, data, config.work_path / "scores" / spec.name)
        if spec.is_population:
            threshold = found["sets"]["challenge"]["threshold"]
            found["sets"][spec.name] = assess_population(scores, data, -np.inf if threshold is None else threshold)
        else:
            found["sets"][spec.name] = assess(scores, data, spec, finder.prior)
    return found


def _plain(published: Any) -> dict[str, Any] | None:
    return None if published is None else {key: getattr(published, key) for key in ("entry", "auroc", "tpr0", "tpr10")}


def _write(folder: Path, record: dict[str, Any]) -> None:
    """Write the record, the tables and the pictures, each under a temporary name first."""
    text = json.dumps(record, indent=1, allow_nan=False) + "\n"
    writers: dict[str, Callable[[Path], Any]] = {
        RECORD: lambda path: path.write_text(text, encoding="utf-8"),
        "challenge.md": lambda path: path.write_text(report.markdown(record), encoding="utf-8"),
    }
    writers |= {name: partial(draw, record) for name, draw in plots.PICTURES.items()}
    write_files(folder, writers)
