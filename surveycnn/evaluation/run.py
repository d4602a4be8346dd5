"""An evaluation as the flow and the command line call it: simulate, train the methods, predict, measure, write the comparison."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from surveycnn import __version__
from surveycnn.errors import ConfigError
from surveycnn.evaluation import plots, report
from surveycnn.evaluation.config import EvaluateConfig
from surveycnn.evaluation.entries import Entry, MethodEntry, ModelEntry, fit_folder, make_method
from surveycnn.evaluation.files import check_output, forget, write_files
from surveycnn.evaluation.kept import Arrays, digest_of, digest_of_set, kept_arrays
from surveycnn.evaluation.measure import measure, shown
from surveycnn.evaluation.redshifts import is_qp_there, write_ensemble
from surveycnn.evaluation.sets import TEST, SetSpec, check_mix, check_seeds, measured_sets, open_set, training_sets
from surveycnn.models.card import Card, Metric
from surveycnn.models.package import find_card
from surveycnn.training.data import LabelledStamps, Log
from surveycnn.training.run import Measured, Messages

RECORD = "evaluation.json"
TABLES = "evaluation.md"
PDFS = "photoz_pdf.hdf5"
"""Redshift PDFs that the first photo-z model gives the test set, as a qp ensemble."""

Writer = Callable[[Path], Any]


@dataclass(frozen=True)
class Evaluation:
    """An evaluation that has been made."""

    folder: Path
    record: dict[str, Any]
    """What ``evaluation.json`` holds."""

    def metrics(self, name: str, role: str = TEST) -> dict[str, Metric]:
        """Metrics of a model, as the configuration names it, or of a method; `role` is test or shifted."""
        entries = {key: entry for task in self.record["tasks"].values() for key, entry in task["entries"].items()}
        return {key: Metric.model_validate(value) for key, value in entries[name]["sets"][role]["metrics"].items()}

    def summary(self) -> str:
        """One line per metric of each model, then the tables of all."""
        models = [Measured(name, self.metrics(name)).summary() for name in _model_names(self.record)]
        return "\n\n".join([*models, report.summary(self.record)])


def run_evaluate(config: EvaluateConfig, *, fresh: bool = False, progress: Messages | None = None) -> Evaluation:
    """Measure models, and methods of the literature beside them, on stamps that none has seen; an interrupted call goes on.

    Parameters
    ----------
    fresh
        Simulate, train and predict from nothing.

    Raises
    ------
    ConfigError
        Where a set could hold stamps that a model was trained on, a method has no model to stand beside, or the output
        folder holds files of somebody else.
    ModelError
        Where a model is not known.
    """
    log = progress.message if progress else print
    cards = {name: find_card(name) for name in config.models}
    methods = _methods(config, cards)
    _check(config, cards, methods)
    if fresh:
        forget(config.work_path, ("stamps/*-seed*-n*", "methods/*-fit-*", "predictions/*/*/*.npz"))
    record = _empty_record(config, cards)
    files: dict[str, Writer] = {}
    for task, about in record["tasks"].items():
        for entry, mix in _entries(task, config, cards, methods, log):
            about["entries"][entry.name] = _measured(entry, mix, about["sets"], files, config, log)
    _write(config.output_path, record, files)
    return Evaluation(config.output_path, record)


def _methods(config: EvaluateConfig, cards: dict[str, Card]) -> list[Any]:
    """The methods that are asked for, not yet trained.

    Raises
    ------
    ConfigError
        Where one is for a task of which no model is measured.
    """
    if config.methods == []:
        return []
    from surveycnn.evaluation.methods import METHODS

    tasks = {card.task for card in cards.values()}
    found = [make_method(METHODS[name], config.passes) for name in config.methods or METHODS]
    foreign = [method for method in found if method.task not in tasks]
    if foreign and config.methods is not None:
        raise ConfigError(
            f"key 'methods': {foreign[0].name!r} is a {foreign[0].task} method, but no model of that task is measured: "
            f"leave it out or add one to 'model'"
        )
    return [method for method in found if method.task in tasks]


def _check(config: EvaluateConfig, cards: dict[str, Card], methods: list[Any]) -> None:
    """What can be refused before anything is simulated."""
    for card in cards.values():
        check_mix(config.mix, config.conditions, card.task)
        measured = {spec.seed for spec in measured_sets(config, card.task, config.mix)}
        check_seeds(config.seed, measured, card)
        if any(method.task == card.task for method in methods):
            shared = sorted(measured & {spec.seed for spec in training_sets(config, card.task, "train")})
            if shared:
                raise ConfigError(f"key 'train_seed': methods would be trained and measured on seed {shared[0]}: choose another")
    check_output(config.output_path, RECORD, (TABLES, PDFS, *plots.NAMES), "evaluation")


def _empty_record(config: EvaluateConfig, cards: dict[str, Card]) -> dict[str, Any]:
    tasks = list(dict.fromkeys(card.task for card in cards.values()))
    return {
        "version": __version__,
        "output": config.output,
        "config": config.model_dump(mode="json"),
        "definitions": report.DEFINITIONS,
        "tasks": {task: {"sets": {}, "entries": {}} for task in tasks},
    }


def _entries(
    task: str, config: EvaluateConfig, cards: dict[str, Card], methods: list[Any], log: Log
) -> Iterator[tuple[Entry, str]]:
    """The models of a task, then each method as soon as it is trained, with the mix that it is measured on."""
    for name, card in cards.items():
        if card.task == task:
            yield ModelEntry(name, config.engine), config.mix
    for method in methods:
        if method.task != task:
            continue
        train, valid = (_opened(spec, config, log) for spec in training_sets(config, task, method.mix))
        folder = fit_folder(config.work_path, method.name, train, valid, config.seed, config.passes)
        log(f"method {method.name}: fit on {len(train)} stamps")
        entry = MethodEntry(method, train, valid, folder=folder, seed=config.seed, log=log)
        yield entry, config.mix if method.mix == "train" else method.mix


def _opened(spec: SetSpec, config: EvaluateConfig, log: Log) -> LabelledStamps:
    return open_set(spec, config.work_path / "stamps", config.n_workers, log)


def _measured(
    entry: Entry, mix: str, sets: dict[str, Any], files: dict[str, Writer], config: EvaluateConfig, log: Log
) -> dict[str, Any]:
    """What the record says of an entry; what it says of the sets is added to `sets`, who writes PDFs to `files`."""
    keys = ("title", "reference", "prior", "n_train", "n_passes", "n_weights", "questions")
    found: dict[str, Any] = {key: getattr(entry, key) for key in keys}
    found |= {"is_model": entry.card is not None, "mix": mix, "sets": {}}
    for spec in measured_sets(config, entry.task, mix):
        data, name = _opened(spec, config, log), f"{spec.role}_{mix}"
        sets.setdefault(name, _described(spec, data))
        log(f"{entry.name}: {len(data)} stamps of the {spec.role} set, mix {mix}, conditions {spec.conditions}, seed {spec.seed}")
        folder, key = config.work_path / "predictions" / entry.task / name, digest_of(entry.key, digest_of_set(data))
        predicted = kept_arrays(folder, entry.stem, key, partial(entry.predict, data))
        metrics = measure(entry, data, predicted, mix)
        found["sets"][spec.role] = {"metrics": {name: metric.model_dump(mode="json") for name, metric in metrics.items()}}
        if spec.role == TEST:
            found["shown"] = shown(entry, data, predicted)
            if entry.task == "photoz" and entry.card is not None and PDFS not in files:
                files |= _ensemble(predicted, data, log)
    return found


def _ensemble(predicted: Arrays, data: LabelledStamps, log: Log) -> dict[str, Writer]:
    """Who writes the redshift PDFs of a set, where qp is installed."""
    if is_qp_there():
        return {PDFS: partial(write_ensemble, predicted, data.labels["redshift"])}
    log(f"qp is not installed, {PDFS} is not written: pip install 'surveycnn[qp]'")
    return {}


def _described(spec: SetSpec, data: LabelledStamps) -> dict[str, Any]:
    """What the record says of a set."""
    kinds = {}
    if "kind" in data.truth:
        names, counts = np.unique(np.asarray(data.truth["kind"]), return_counts=True)
        kinds = dict(zip(map(str, names), map(int, counts), strict=True))
    return dataclasses.asdict(spec) | {"kinds": kinds}


def _write(folder: Path, record: dict[str, Any], files: dict[str, Writer]) -> None:
    """Write the record, the tables, the pictures and the PDFs; those of an earlier evaluation of other tasks go."""
    text = json.dumps(record, indent=1, allow_nan=False) + "\n"
    pictures = plots.pictures(record)
    writers: dict[str, Writer] = {
        RECORD: lambda path: path.write_text(text, encoding="utf-8"),
        TABLES: lambda path: path.write_text(report.markdown(record, list(pictures)), encoding="utf-8"),
    }
    write_files(folder, writers | pictures | files)
    forget(folder, [name for name in (*plots.NAMES, PDFS) if name not in pictures and name not in files])


def _model_names(record: dict[str, Any]) -> list[str]:
    """Names of the models in all tasks, as the configuration names them."""
    return [name for task in record["tasks"].values() for name, entry in task["entries"].items() if entry["is_model"]]
