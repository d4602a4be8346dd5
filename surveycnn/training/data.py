"""Training sets: simulated stamps kept on disk, the targets of each task, and augmented batches of them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from surveycnn.inference.scaling import network_inputs
from surveycnn.models.backend import import_keras
from surveycnn.models.card import Card
from surveycnn.models.morphology import QUESTIONS

Log = Callable[[str], None]

MAX_SHIFT_PX = 2
EXTRA_NOISE = 0.7
"""Widest added noise, in units of the softening: the survey's depth varies more than the simulation's."""
ZEROPOINT_ERROR = 0.01
EXTRA_FLUX_NOISE = 1.0
"""Widest added noise of measured fluxes, in units of their errors."""


@dataclass(frozen=True)
class LabelledStamps:
    """Stamps with what is to be learned from them."""

    task: str
    bands: tuple[str, ...]
    stamps: np.ndarray
    """(object, y, x, band) float32 nJy, NaN = no data; may be a memory map."""
    labels: dict[str, np.ndarray] = field(default_factory=dict)
    """One array per label, objects along the first axis; for morphology the votes (object, answer) of each question."""
    truth: dict[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.stamps)


def simulated(
    task: str, n: int, *, seed: int, conditions: str, folder: Path, mix: str = "train", n_workers: int = 1, log: Log | None = None
) -> LabelledStamps:
    """Simulated stamps, kept under `folder` and read from there the next time."""
    home = folder / f"{task}-{mix}-{conditions}-seed{seed}-n{n}"
    if not (home / "set.json").is_file():
        from surveycnn.simulation.stamps import simulate_parts

        if log:
            log(f"{task}: simulating {n} stamps, mix {mix}, conditions {conditions}, seed {seed}")
        parts = simulate_parts(task, n, seed=seed, conditions=conditions, mix=mix, n_workers=n_workers)
        write_parts(home, n, ((task, part.bands, part.stamps, part.labels, part.truth) for part in parts))
    return read_set(home)


Part = tuple[str, tuple[str, ...], np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]
"""Task, bands, stamps, labels and truth of a piece of a set."""


def write_set(home: Path, data: LabelledStamps) -> None:
    """Write a set into the folder `home`, which appears whole; ``set.json`` marks it complete."""
    write_parts(home, len(data), [(data.task, data.bands, data.stamps, data.labels, data.truth)])


def write_parts(home: Path, n: int, parts: Iterable[Part]) -> None:
    """The same for a set of `n` stamps that comes in pieces: no more than one of them is in memory.

    A set grows in a folder of this process alone and is renamed: two processes that make the same one do not disturb each other.
    """
    partial = home.with_name(f".{home.name}.{os.getpid()}.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    stamps, done, columns, about = None, 0, [], {}
    for task, bands, piece, labels, truth in parts:
        if stamps is None:
            about = {"task": task, "bands": bands}
            stamps = np.lib.format.open_memmap(partial / "stamps.npy", "w+", piece.dtype, (n, *piece.shape[1:]))
        stamps[done : done + len(piece)] = piece
        done += len(piece)
        columns.append({"labels": labels, "truth": truth})
    if stamps is None or done != n:
        raise ValueError(f"{done} stamps came for a set of {n}")
    stamps.flush()
    for kind in ("labels", "truth"):
        whole: dict[str, Any] = {name: np.concatenate([piece[kind][name] for piece in columns]) for name in columns[0][kind]}
        np.savez(partial / f"{kind}.npz", **whole)
    (partial / "set.json").write_text(json.dumps(about))
    if not (home / "set.json").is_file():
        shutil.rmtree(home, ignore_errors=True)
        os.replace(partial, home)
    shutil.rmtree(partial, ignore_errors=True)


def read_set(home: Path) -> LabelledStamps:
    """The set in the folder `home`, its stamps as a memory map."""
    about = json.loads((home / "set.json").read_text())
    parts = []
    for part in ("labels", "truth"):
        with np.load(home / f"{part}.npz", allow_pickle=False) as arrays:
            parts.append({name: arrays[name] for name in arrays.files})
    return LabelledStamps(about["task"], tuple(about["bands"]), np.load(home / "stamps.npy", mmap_mode="r"), *parts)


class _Joined:
    """Stamps of several sets as one array, read where they lie: as much of an array as batches need."""

    def __init__(self, parts: list[np.ndarray]):
        self._parts = parts
        self._starts = np.cumsum([0, *map(len, parts)])
        self.shape = (int(self._starts[-1]), *parts[0].shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, members: Any) -> np.ndarray:
        """Stamps of ascending numbers, or of a slice."""
        numbers = np.arange(len(self))[members] if isinstance(members, slice) else np.asarray(members)
        pieces = []
        for part, start, stop in zip(self._parts, self._starts, self._starts[1:], strict=False):
            own = numbers[(numbers >= start) & (numbers < stop)]
            pieces.append(np.asarray(part[own - start]))
        return np.concatenate(pieces)


def joined(sets: Sequence[LabelledStamps]) -> LabelledStamps:
    """Several sets of one task, one after the other, with the labels and truth that all of them have."""
    first = sets[0]
    columns = [
        {
            name: np.concatenate([np.asarray(getattr(part, kind)[name]) for part in sets])
            for name in getattr(first, kind)
            if all(name in getattr(part, kind) for part in sets)
        }
        for kind in ("labels", "truth")
    ]
    return LabelledStamps(first.task, first.bands, _Joined([part.stamps for part in sets]), *columns)  # type: ignore[arg-type]


class _Selected:
    """Some stamps of an array, read where they lie."""

    def __init__(self, stamps: np.ndarray, members: np.ndarray):
        self._stamps, self._members = stamps, members
        self.shape = (len(members), *stamps.shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, numbers: Any) -> np.ndarray:
        return np.asarray(self._stamps[self._members[numbers]])


def subset(data: LabelledStamps, members: np.ndarray) -> LabelledStamps:
    """The stamps of the ascending numbers `members`, with their labels and truth."""
    columns = ({name: np.asarray(values)[members] for name, values in part.items()} for part in (data.labels, data.truth))
    return LabelledStamps(data.task, data.bands, _Selected(data.stamps, members), *columns)  # type: ignore[arg-type]


def targets_of(data: LabelledStamps, card: Card) -> np.ndarray:
    """Targets (object, value) float32 as the loss of the task takes them.

    Lens: is it one. Merger: is it one, and the scaled time, 0 for the others. Morphology: votes of all answers.
    Photo-z: the redshift.
    """
    labels = data.labels
    if data.task == "lens":
        columns = [labels["is_lens"]]
    elif data.task == "merger":
        is_merger = np.asarray(labels["is_merger"], bool)
        mean, scale = card.time_scaling
        time = (np.asarray(labels["time_myr"]) - mean) / scale
        columns = [is_merger, np.where(is_merger, time, 0)]
    elif data.task == "morphology":
        columns = list(np.concatenate([labels[question] for question in QUESTIONS], axis=1).T)
    else:
        columns = [labels["redshift"]]
    return np.stack([np.asarray(column, np.float32) for column in columns], axis=1)


def sky_noise(data: LabelledStamps, n: int = 1000) -> dict[str, float]:
    """Noise per pixel (nJy) of each band: median over stamps of the scatter in their outer 4 pixels."""
    edge = np.ones(data.stamps.shape[1:3], bool)
    edge[4:-4, 4:-4] = False
    pixels = np.asarray(data.stamps[:n])[:, edge]
    scatter = 1.4826 * np.nanmedian(np.abs(pixels - np.nanmedian(pixels, axis=1, keepdims=True)), axis=1)
    return {band: float(np.nanmedian(scatter[:, index])) for index, band in enumerate(data.bands)}


def aperture_magnitudes(stamps: np.ndarray, radius_px: float = 10.0) -> np.ndarray:
    """AB magnitudes (object, band) in a circle around the centre; NaN where the flux is not positive."""
    ny, nx = stamps.shape[1:3]
    y, x = np.ogrid[:ny, :nx]
    inside = np.hypot(y - (ny - 1) / 2, x - (nx - 1) / 2) <= radius_px
    flux = np.nansum(np.asarray(stamps)[:, inside], axis=1, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(flux > 0, 31.4 - 2.5 * np.log10(flux), np.nan)


def inputs_of(data: LabelledStamps, card: Card, members: slice | np.ndarray = slice(None)) -> list[np.ndarray]:
    """What the network of `card` takes for some stamps of a set, as they are."""
    stamps = centre_cut(np.asarray(data.stamps[members]), card.stamp_px)
    return network_inputs(card, stamps, *fluxes_of(data, card, members))


def fluxes_of(
    data: LabelledStamps, card: Card, members: slice | np.ndarray = slice(None)
) -> tuple[np.ndarray, np.ndarray] | tuple[None, None]:
    """Measured fluxes and errors (object, band) nJy of some stamps of a set, where the model takes them."""
    if card.photometry is None:
        return None, None
    return np.asarray(data.labels["flux"])[members], np.asarray(data.labels["flux_err"])[members]


def centre_cut(stamps: np.ndarray, size: int) -> np.ndarray:
    """The central `size` x `size` pixels, as the predictor cuts them."""
    y, x = ((length - size) // 2 for length in stamps.shape[1:3])
    return stamps[:, y : y + size, x : x + size]


def augment(
    stamps: np.ndarray, card: Card, rng: np.random.Generator, fluxes: tuple[Any, Any] = (None, None)
) -> tuple[np.ndarray, Any, Any]:
    """Turned, mirrored, shifted, noisier stamps (object, y, x, band) nJy, and noisier `fluxes` where there are any; copies.

    The order of the objects stays. Stamps are dealt to the eight symmetries of the square at random; those that share
    one share the shift of up to `MAX_SHIFT_PX` too. What comes in from outside has no data.
    """
    out = np.empty_like(stamps)
    for turn, members in enumerate(np.array_split(rng.permutation(len(stamps)), 8)):
        turned = np.rot90(stamps[members], turn % 4, axes=(1, 2))
        turned = turned[:, ::-1] if turn >= 4 else turned
        out[members] = _shifted(turned, *rng.integers(-MAX_SHIFT_PX, MAX_SHIFT_PX + 1, 2))
    softening = np.array([card.scaling.softening[band] for band in card.bands], np.float32)
    width = EXTRA_NOISE * rng.random((len(stamps), 1, 1, 1), np.float32) ** 2 * softening
    gain = np.float32(1) + np.float32(ZEROPOINT_ERROR) * rng.standard_normal((len(stamps), 1, 1, len(softening)), np.float32)
    out *= gain
    out += width * rng.standard_normal(out.shape, np.float32)
    flux, error = fluxes
    if flux is None:
        return out, None, None
    extra = EXTRA_FLUX_NOISE * rng.random((len(flux), 1))
    return out, flux * gain[:, 0, 0, :] + extra * error * rng.standard_normal(flux.shape), error


def _shifted(stamps: np.ndarray, dy: int, dx: int) -> np.ndarray:
    shifted = np.roll(stamps, (dy, dx), axis=(1, 2))
    for axis, shift in ((1, dy), (2, dx)):
        edge = slice(0, shift) if shift > 0 else slice(shift, None) if shift < 0 else slice(0, 0)
        shifted[(slice(None),) * axis + (edge,)] = np.nan
    return shifted


def batches(data: LabelledStamps, card: Card, *, batch_size: int, seed: int) -> Any:
    """Keras dataset of augmented, scaled batches with their targets; a batch depends on (seed, epoch, its number) alone.

    The attribute `epoch` is set by the training at the start of each epoch, so that a resumed one goes on where it stopped.
    """
    base: Any = import_keras().utils.PyDataset

    class Batches(base):
        def __init__(self) -> None:
            super().__init__(workers=1)
            self.epoch = 0
            self.targets = targets_of(data, card)

        def __len__(self) -> int:
            return max(1, len(data) // batch_size)

        def __getitem__(self, index: int) -> tuple[Any, np.ndarray]:
            order = np.random.default_rng([seed, self.epoch]).permutation(len(data))
            members = np.sort(order[index * batch_size : (index + 1) * batch_size])
            rng = np.random.default_rng([seed, self.epoch, index])
            wide = centre_cut(np.array(data.stamps[members]), min(card.stamp_px + 2 * MAX_SHIFT_PX, data.stamps.shape[1]))
            stamps, *fluxes = augment(wide, card, rng, fluxes_of(data, card, members))
            inputs = network_inputs(card, centre_cut(stamps, card.stamp_px), *fluxes)
            return inputs[0] if len(inputs) == 1 else tuple(inputs), self.targets[members]

    return Batches()
