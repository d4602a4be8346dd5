"""The flow ``train``: on a simulation, or on labels of a user's, from their tables to a model package."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from surveycnn.catalogs.query import Catalog, open_catalog
from surveycnn.errors import ConfigError, InputError
from surveycnn.labels.matching import PARTS, part_of, sources_of
from surveycnn.labels.stamps import stamps_of
from surveycnn.labels.tables import Labels, read_labels
from surveycnn.models.card import Card
from surveycnn.models.package import find_card, package_folder
from surveycnn.sections import load_yaml
from surveycnn.training.config import TrainConfig
from surveycnn.training.data import LabelledStamps, Log, read_set, simulated, subset, write_set
from surveycnn.training.fine_tune import LabelSets, Tuning, fine_tune
from surveycnn.training.run import Measured, Messages, forget, run_train

MIN_LABELS = 10
"""Of each class, to learn from anything at all."""
TASKS = ("lens", "merger")
EPOCHS, BATCH_SIZE = 20, 32
"""Where the configuration says nothing: labels are few."""


@dataclass(frozen=True)
class Tuned(Measured):
    """Metrics of a model that was trained further, and what its card says of them."""

    notes: str = ""

    def summary(self) -> str:
        """The notes, and one line per metric."""
        return f"{super().summary()}\n{self.notes}\nuse it: models: [{self.model}] in a survey's configuration, and --update"


def run_training(config: TrainConfig, *, fresh: bool = False, progress: Messages | None = None) -> Measured:
    """Train a model on a simulation or on labels, calibrate, measure and write its package; an interrupted training goes on.

    Parameters
    ----------
    fresh
        Begin from nothing.
    """
    if not config.labels or config.n_simulated:
        _check_drawing()
    if not config.labels:
        return run_train(config, fresh=fresh, progress=progress)
    log = progress.message if progress else print
    card = _parent_card(config)
    labels = read_labels(config.labels, config.task)
    catalogs = [open_catalog(path) for path in config.catalog]
    command = command_of(config)
    key = hashlib.sha256(
        json.dumps([command, labels.about, card.digest, *(c.provenance.get("run_digest") for c in catalogs)]).encode()
    )
    folder = Path(config.work_dir)
    name = f"{config.task}-{key.hexdigest()[:12]}"
    if fresh:
        forget(folder, (f"labels/{name}", f"fit-labels-{name}"))
    data = _stamps(folder / "labels" / name, config, card, labels, catalogs, log)
    further = None
    if config.n_simulated:
        about = {"seed": config.seed, "conditions": config.conditions, "folder": folder / "stamps", "n_workers": config.n_workers}
        further = simulated(config.task, config.n_simulated, **about, log=log)  # type: ignore[arg-type]
        _check_like(card, further)
    runs = ", ".join(
        f"{path} (run {str(c.provenance.get('run_digest'))[:12]})" for path, c in zip(config.catalog, catalogs, strict=True)
    )
    parent = package_folder(config.start_from or config.task)
    text = f"labels {labels.about} of {runs}, from {card.name} {card.version} (model.keras {card.sha256['model.keras'][:12]})"
    tuning = Tuning(
        parent=parent,
        name=_package_name(config.output_path),
        about=text,
        command=command,
        epochs=config.epochs if "epochs" in config.model_fields_set else EPOCHS,
        batch_size=config.batch_size if "batch_size" in config.model_fields_set else BATCH_SIZE,
        seed=config.seed,
        layers=config.layers,
        survey_prior=config.survey_prior,
    )
    sets = _sets(data, config.task, log)
    made = fine_tune(tuning, sets, config.output_path, state=folder / f"fit-labels-{name}", log=log, further=further)
    return Tuned(str(config.output_path), made.metrics, made.notes)


def command_of(config: TrainConfig) -> str:
    """The command that repeats a training on labels."""
    values = config.model_dump(mode="json", exclude_unset=True, exclude={"work_dir", "n_workers", "output"})
    settings = [f"--set {key}={_flow(value)}" for key, value in values.items() if value not in (None, [])]
    return " ".join(["surveycnn run-flow train", *settings])


def _flow(value: object) -> str:
    """A value as YAML on one line, quoted for a shell."""
    is_plain = isinstance(value, str) and load_yaml(value, "a value") == value
    return shlex.quote(str(value) if is_plain else json.dumps(value))


def _parent_card(config: TrainConfig) -> Card:
    if config.task not in TASKS:
        raise ConfigError(
            f"task is {config.task!r}: labels train models of the tasks {' and '.join(TASKS)} so far; for redshifts from a table "
            "there is `surveycnn photoz fit`, for the rest a training on a simulation (leave out labels)"
        )
    reference = config.start_from or config.task
    card = find_card(reference)
    if card.task != config.task:
        raise ConfigError(
            f"start_from is {reference!r}, a {card.task} model, and the task is {config.task!r}: give a {config.task} model"
        )
    parent, out = package_folder(reference).resolve(), config.output_path.resolve()
    if parent == out:
        raise ConfigError(f"output is the model itself that it starts from, {str(config.output_path)!r}: give another folder")
    return card


def _stamps(home: Path, config: TrainConfig, card: Card, labels: Labels, catalogs: list[Catalog], log: Log) -> LabelledStamps:
    """Labelled stamps of all catalogs, kept under `home`."""
    if not (home / "set.json").is_file():
        found = [sources_of(catalog, labels, config.match_arcsec) for catalog in catalogs]
        is_matched = np.logical_or.reduce([matched for _, matched in found])
        _check_matched(config, labels, is_matched, log)
        stamps = np.concatenate(
            [stamps_of(c, sources, card) for c, (sources, _) in zip(catalogs, found, strict=True) if len(sources)]
        )
        joined = {
            name: np.concatenate([getattr(sources, name) for sources, _ in found]) for name in ("label", "ra", "dec", "source_id")
        }
        usable = np.isnan(stamps).mean(axis=(1, 2, 3)) <= 0.5
        y = joined.pop("label").astype(bool)[usable]
        columns = {name: values[usable] for name, values in joined.items()}
        log(f"{config.task}: {len(y)} stamps cut, {int(y.sum())} positives and {int((~y).sum())} negatives")
        own = {f"is_{config.task}": y} | ({"time_myr": np.full(len(y), np.nan)} if config.task == "merger" else {})
        write_set(home, LabelledStamps(config.task, tuple(card.bands), stamps[usable], own, columns))
    return read_set(home)


def _check_matched(config: TrainConfig, labels: Labels, is_matched: np.ndarray, log: Log) -> None:
    n, where = int(is_matched.sum()), ", ".join(map(repr, config.catalog))
    text = f"{n} of {len(labels)} labels have a source within {config.match_arcsec:g} arcsec in {where}"
    if not n:
        raise InputError(f"{text}: are they of this sky? Positions are degrees, ICRS; match_arcsec is the radius")
    log(f"{config.task}: {text}")
    y = labels.value[is_matched]
    if min(y.sum(), (~y).sum()) < MIN_LABELS:
        raise InputError(
            f"{text}, {int(y.sum())} positives and {int((~y).sum())} negatives: expected at least {MIN_LABELS} of each; "
            "label more, or train on a simulation"
        )


def _sets(data: LabelledStamps, task: str, log: Log) -> LabelSets:
    part = part_of(np.asarray(data.truth["ra"]), np.asarray(data.truth["dec"]))
    y = np.asarray(data.labels[f"is_{task}"], bool)
    numbers = [(int((y & (part == i)).sum()), int((~y & (part == i)).sum())) for i in range(len(PARTS))]
    log(
        f"{task}: "
        + ", ".join(f"{name} {n} + {m}" for name, (n, m) in zip(("to learn from", "to stop", "held out"), numbers, strict=True))
    )
    if not all(numbers[0]):
        raise InputError(f"of the labels, {numbers[0][0]} positives and {numbers[0][1]} negatives are to learn from: label more")
    return LabelSets(*(subset(data, np.flatnonzero(part == i)) for i in range(len(PARTS))))


def _check_like(card: Card, further: LabelledStamps) -> None:
    """Simulated stamps are of the shipped models' bands and pixels."""
    if (
        further.bands != tuple(card.bands)
        or further.stamps.shape[1:3] != (card.stamp_px, card.stamp_px)
        or card.pixel_scale != 0.2
    ):
        raise ConfigError(
            f"n_train adds simulated stamps of {' '.join(further.bands)} at 0.2 arcsec, and the model takes "
            f"{' '.join(card.bands)} at {card.pixel_scale:g} arcsec, {card.stamp_px} px: leave n_train out"
        )


def _package_name(folder: Path) -> str:
    """Name of the package from that of its folder."""
    name = "".join(one if one.isascii() and one.isalnum() or one in "_-" else "_" for one in folder.name.lower()).lstrip("_-")
    return name[:64] or "model"


def _check_drawing() -> None:
    """Raise ConfigError where nothing can be simulated."""
    missing = [name for name in ("galsim", "lenstronomy") if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"a training on a simulation draws galaxies with {' and '.join(missing)}, which cannot be found: "
            "pip install 'surveycnn[simulation]', or train on labels alone (without n_train)"
        )
