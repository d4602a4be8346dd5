"""Labelled stamps for training and tests, the same for any number of workers and as the head of any longer set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from surveycnn.errors import ConfigError, InputError, did_you_mean
from surveycnn.simulation.conditions import PIXEL_SCALE_ARCSEC, STAMP_PX, Exposure, draw_exposures, find_conditions
from surveycnn.simulation.encounters import encounter_number
from surveycnn.simulation.field import add_defects
from surveycnn.simulation.lens_task import MIXES, lens_stamp
from surveycnn.simulation.merger_task import MIXES as MERGER_MIXES
from surveycnn.simulation.merger_task import merger_stamp
from surveycnn.simulation.morphology_task import MIXES as MORPHOLOGY_MIXES
from surveycnn.simulation.morphology_task import morphology_stamp
from surveycnn.simulation.photoz_task import photoz_stamp
from surveycnn.simulation.render import Stamp, observe
from surveycnn.sources.stamp_photometry import stamp_photometry
from surveycnn.sources.stamps import cut_stamps

GRI = ("g", "r", "i")
GRIZ = ("g", "r", "i", "z")
TRAIN_MIX = "train"
_MAX_CENTRE_SHIFT_PX = 1.0


@dataclass(frozen=True)
class Task:
    """What the stamps of a task hold."""

    bands: tuple[str, ...]
    draw: Callable[..., Stamp]
    code: int
    """Part of the seed: two tasks with one seed share nothing."""
    group: int = 1
    """Stamps that are made together, from one encounter of galaxies."""
    mixes: tuple[str, ...] = (TRAIN_MIX,)
    """Names of the mixes of kinds that can be drawn."""
    has_photometry: bool = False
    """Whether the labels hold the fluxes that a survey would have measured, ``flux`` and ``flux_err`` (object, band) nJy."""


TASKS: dict[str, Task] = {
    "lens": Task(GRI, lens_stamp, 1, mixes=tuple(MIXES)),
    "morphology": Task(GRI, morphology_stamp, 2, mixes=MORPHOLOGY_MIXES),
    "merger": Task(GRI, merger_stamp, 3, group=32, mixes=MERGER_MIXES),
    "photoz": Task(GRIZ, photoz_stamp, 4, has_photometry=True),
}


@dataclass(frozen=True)
class StampSet:
    """Stamps with labels for a task and the truth behind them."""

    task: str
    stamps: np.ndarray
    """(object, y, x, band) float32, nJy per pixel of 0.2 arcsec, sky-subtracted; NaN = no data."""
    bands: tuple[str, ...]
    labels: dict[str, np.ndarray]
    """What a model learns, (object, ...)."""
    truth: dict[str, np.ndarray] = field(default_factory=dict)
    """What was put in, (object,): magnitudes, redshifts, seeing and depth per band, kinds; NaN = does not apply."""

    def __len__(self) -> int:
        return len(self.stamps)

    def save(self, path: str | Path) -> None:
        """Write everything to one .npz file, without pickles."""
        arrays: dict[str, Any] = {f"label/{name}": values for name, values in self.labels.items()}
        arrays |= {f"truth/{name}": values for name, values in self.truth.items()}
        path = Path(path)
        temporary = path.with_name(f".{path.name}.tmp.npz")
        np.savez(temporary, stamps=self.stamps, task=np.array(self.task), bands=np.array(self.bands), **arrays)
        temporary.replace(path)

    @classmethod
    def load(cls, path: str | Path) -> StampSet:
        """Read what `save` wrote.

        Raises
        ------
        InputError
            Where there is no such file or it holds no stamps.
        """
        if not Path(path).is_file():
            raise InputError(f"no stamps at {str(path)!r}: simulate them first")
        with np.load(path, allow_pickle=False) as file:
            if not {"stamps", "task", "bands"} <= set(file.files):
                raise InputError(f"{str(path)!r} is no set of stamps: it holds {file.files}")
            labels = {name[6:]: file[name] for name in file.files if name.startswith("label/")}
            truth = {name[6:]: file[name] for name in file.files if name.startswith("truth/")}
            return cls(str(file["task"]), file["stamps"], tuple(str(band) for band in file["bands"]), labels, truth)


def simulate_stamps(
    task: str, n: int, *, seed: int, conditions: str = "wide", mix: str = TRAIN_MIX, n_workers: int = 1
) -> StampSet:
    """`n` labelled stamps of a task; stamp k depends on (task, seed, conditions, mix, k) alone.

    Parameters
    ----------
    task
        lens, morphology, merger or photoz.
    conditions
        Name of observing conditions: wide, lsst, kids, des, hsc, lsst-kids or shifted.
    mix
        Which kinds of objects: train; for lenses survey, hard and lenses too, for mergers sersic and population,
        for morphology disks.
    n_workers
        Processes; the result is the same for any number.

    Raises
    ------
    ConfigError
        For an unknown task, mix or conditions, or numbers below zero.
    """
    return join_parts(task, list(simulate_parts(task, n, seed=seed, conditions=conditions, mix=mix, n_workers=n_workers)))


def simulate_parts(
    task: str, n: int, *, seed: int, conditions: str = "wide", mix: str = TRAIN_MIX, n_workers: int = 1
) -> Iterator[StampSet]:
    """The same in pieces of some hundred stamps, in order: a long set need not be held in memory."""
    _check(task, n, seed, conditions, mix, n_workers)
    chunk = _chunk_size(TASKS[task].group, n, n_workers)
    starts = range(0, n, chunk)
    jobs = [(task, start, min(start + chunk, n), seed, conditions, mix) for start in starts]
    if n_workers == 1 or len(jobs) <= 1:
        yield from (_simulate_range(*job) for job in jobs)
        return
    # Spawned, not forked: the caller may hold threads of TensorFlow or Dask.
    with ProcessPoolExecutor(n_workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_simulate_range, *zip(*jobs, strict=True))


def _check(task: str, n: int, seed: int, conditions: str, mix: str, n_workers: int) -> None:
    if task not in TASKS:
        raise ConfigError(f"unknown task {task!r}: {did_you_mean(task, TASKS)}choose one of {sorted(TASKS)}")
    if mix not in TASKS[task].mixes:
        raise ConfigError(f"unknown mix {mix!r} of the task {task!r}: choose one of {sorted(TASKS[task].mixes)}")
    if n < 1 or n_workers < 1 or seed < 0:
        given = f"n={n!r}, seed={seed!r}, n_workers={n_workers!r}"
        raise ConfigError(f"cannot simulate stamps with {given}: n and n_workers start at 1, seed at 0")
    find_conditions(conditions)


def _chunk_size(group: int, n: int, n_workers: int) -> int:
    """Stamps per job: whole groups, a few jobs per worker, at most 512."""
    wanted = min(512, max(1, n // (4 * n_workers)))
    return max(group, wanted // group * group)


def _simulate_range(task: str, start: int, stop: int, seed: int, conditions: str, mix: str) -> StampSet:
    made = [_simulate_one(task, index, seed, conditions, mix) for index in range(start, stop)]
    stamps = np.stack([stamp for stamp, _, _ in made])
    labels, truth = _columns([labels for _, labels, _ in made]), _columns([truth for _, _, truth in made])
    if TASKS[task].has_photometry:
        labels["flux"], labels["flux_err"] = stamp_photometry(stamps, PIXEL_SCALE_ARCSEC)
    return StampSet(task, stamps, TASKS[task].bands, labels, truth)


def _simulate_one(task: str, index: int, seed: int, conditions: str, mix: str = TRAIN_MIX) -> Stamp:
    """Observed stamp (y, x, band), labels and truth number `index`."""
    spec = TASKS[task]
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(spec.code, spec.mixes.index(mix), index)))
    exposures = draw_exposures(rng, conditions, spec.bands)
    centre = tuple(rng.uniform(-_MAX_CENTRE_SHIFT_PX, _MAX_CENTRE_SHIFT_PX, 2))
    model, labels, truth = _draw(rng, spec, exposures, centre, seed, index, mix)
    image = add_defects(rng, observe(rng, model, exposures), exposures)
    total = model.sum(axis=(1, 2))
    return _at_model_scale(image, exposures[0].pixel_scale), labels, truth | _conditions_truth(exposures, total)


def _draw(
    rng: np.random.Generator,
    spec: Task,
    exposures: tuple[Exposure, ...],
    centre: tuple[float, ...],
    seed: int,
    index: int,
    mix: str,
) -> Stamp:
    choice = {"mix": mix} if len(spec.mixes) > 1 else {}
    if spec.group == 1:
        return spec.draw(rng, exposures, centre, **choice)
    number = index // spec.group
    return spec.draw(rng, exposures, centre, encounter_number(seed, spec.code, number), number, **choice)


def _at_model_scale(image: np.ndarray, pixel_scale: float) -> np.ndarray:
    """Stamp (y, x, band) float32 of 64 pixels of 0.2 arcsec from an image (band, y, x), resampled as the pipeline does it."""
    if pixel_scale == PIXEL_SCALE_ARCSEC:
        return np.moveaxis(image, 0, -1).astype(np.float32)
    middle = np.array([(length - 1) / 2.0 for length in image.shape[1:]])
    return cut_stamps(image.astype(np.float32), middle[:1], middle[1:], STAMP_PX, PIXEL_SCALE_ARCSEC / pixel_scale)[0]


def _conditions_truth(exposures: tuple[Exposure, ...], total: np.ndarray) -> dict[str, object]:
    truth: dict[str, object] = {}
    for exposure, flux in zip(exposures, total, strict=True):
        truth[f"fwhm_{exposure.band}"] = exposure.fwhm
        truth[f"sigma_{exposure.band}"] = exposure.sigma
        truth[f"flux_{exposure.band}"] = float(flux)
    return truth


def _columns(rows: list[dict]) -> dict[str, np.ndarray]:
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def join_parts(task: str, parts: list[StampSet]) -> StampSet:
    """One set of the pieces of :func:`simulate_parts`."""
    stamps = np.concatenate([part.stamps for part in parts])
    labels = join_columns([part.labels for part in parts])
    return StampSet(task, stamps, TASKS[task].bands, labels, join_columns([part.truth for part in parts]))


def join_columns(columns: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Columns of several pieces, one after the other."""
    return {name: np.concatenate([piece[name] for piece in columns]) for name in columns[0]}
