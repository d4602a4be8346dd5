"""Packages of photo-z models for tables on disk, and the predictions of one.

A package is a folder with ``model.keras``, ``card.yaml`` and ``golden.npz``, as those of the models for stamps. Reading and
running one takes numpy alone.
"""

from __future__ import annotations

import io
import os
import shutil
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from surveycnn.errors import InputError, ModelError
from surveycnn.inference.heads import redshift_columns
from surveycnn.models.card import card_values, write_card
from surveycnn.models.golden import GOLDEN_TOLERANCE, golden_difference, read_arrays
from surveycnn.models.package_files import GOLDEN_FILE, MODEL_FILE, WEIGHTS_ENTRY, checked_network, file_findings, file_sha256
from surveycnn.photoz.card import TASK, TableCard, read_table_card
from surveycnn.photoz.features import features_of
from surveycnn.photoz.network import Layers, build_published, forward, layer_name, mean_mixture
from surveycnn.photoz.tables import Photometry

N_GOLDEN = 16
CHUNK = 2048
"""Rows of a piece of work: its arrays stay in the processor's cache."""
_GOLDEN_ENTRIES = {"flux.npy", "flux_err.npy", "raw.npy"}


class PhotozModel:
    """A photo-z model for tables.

    Attributes
    ----------
    card
        Its bands, how it was fitted, and how well it does.
    """

    def __init__(self, card: TableCard, members: list[Layers]):
        self.card = card
        self._members = members

    def __repr__(self) -> str:
        return f"PhotozModel({self.card.name!r}, bands={','.join(self.card.bands)})"

    def predict(self, photometry: Photometry, n_threads: int | None = None) -> dict[str, np.ndarray]:
        """Redshifts and their PDFs, one row per object; rows do not depend on each other.

        Parameters
        ----------
        photometry
            Fluxes (object, band) in nJy with their errors, in the bands of the card.
        n_threads
            None takes as many as the process has cores.

        Returns
        -------
        ``z_phot`` (median), ``z_phot_lo``, ``z_phot_hi`` (16 and 84 %), ``z_mode`` (object,) and ``pz_weight``, ``pz_mean``,
        ``pz_sigma`` (object, component), all float32; NaN where no band was observed.

        Raises
        ------
        InputError
            Where the bands are others than those of the card.
        """
        if list(photometry.bands) != self.card.bands:
            found, expected = (", ".join(bands) for bands in (photometry.bands, self.card.bands))
            raise InputError(f"the photometry has the bands {found}, but the model {self.card.name!r} takes {expected}")
        columns = self._empty(len(photometry))
        fill = partial(self._fill, photometry, columns)
        # the threads of the matrix products would wait for each other and for ours
        with (
            threadpool_limits(1, user_api="blas"),
            ThreadPoolExecutor(n_threads or len(os.sched_getaffinity(0))) as pool,
        ):
            list(pool.map(fill, range(0, len(photometry), CHUNK)))
        return columns

    def predict_raw(self, flux: np.ndarray, flux_err: np.ndarray) -> np.ndarray:
        """Raw outputs (object, member, 3 K) float32 of the networks for fluxes and errors (object, band) in nJy."""
        return forward(self._members, features_of(flux, flux_err, self.card.scaling, tuple(self.card.bands)))

    def _empty(self, n: int) -> dict[str, np.ndarray]:
        scalars = ("z_phot", "z_phot_lo", "z_phot_hi", "z_mode")
        vectors = ("pz_weight", "pz_mean", "pz_sigma")
        shapes: dict[str, tuple[int, ...]] = dict.fromkeys(scalars, (n,)) | dict.fromkeys(vectors, (n, self.card.n_components))
        return {name: np.empty(shape, np.float32) for name, shape in shapes.items()}

    def _fill(self, photometry: Photometry, columns: dict[str, np.ndarray], start: int) -> None:
        """Write the rows of one piece into `columns`."""
        some = slice(start, start + CHUNK)
        flux = photometry.flux[some]
        raw = self.predict_raw(flux, photometry.flux_err[some])
        blank = ~np.isfinite(flux).any(axis=1)
        parts = mean_mixture(raw, self.card.width, self.card.redshift_scale, self.card.n_components)
        for name, values in redshift_columns(*parts).items():
            values = values.astype(np.float32)
            values[blank] = np.nan
            columns[name][some] = values


def save_photoz(folder: str | Path, members: list[Layers], card: TableCard, examples: Photometry) -> TableCard:
    """Write a package and give back its card with the digests filled in; it replaces an older one as a whole.

    Parameters
    ----------
    members
        Weights of the trained networks.
    examples
        Photometry of which the first rows go into the golden file.
    """
    folder = Path(folder)
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.part")
    temporary.mkdir(parents=True)
    try:
        model = build_published(members)
        model.save(temporary / MODEL_FILE)
        flux, flux_err = examples.flux[:N_GOLDEN], examples.flux_err[:N_GOLDEN]
        raw = np.asarray(model(features_of(flux, flux_err, card.scaling, tuple(card.bands)), training=False))
        np.savez_compressed(temporary / GOLDEN_FILE, flux=flux, flux_err=flux_err, raw=raw.reshape(len(raw), len(members), -1))
        digests = {name: file_sha256(temporary / name) for name in (MODEL_FILE, GOLDEN_FILE)}
        card = card.model_copy(update={"sha256": digests})
        write_card(temporary, card)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return card


def check_folder(folder: str | Path) -> None:
    """Raise InputError where `folder` holds something that a package must not replace."""
    path = Path(folder)
    if path.exists() and not (path.is_dir() and (is_photoz_package(path) or not any(path.iterdir()))):
        raise InputError(f"{str(path)!r} is there and no photo-z model: give another folder, or remove it first")


def load_photoz(folder: str | Path) -> PhotozModel:
    """The photo-z model in `folder`, after its digests and golden outputs agreed.

    Raises
    ------
    ModelError
        Where the folder is no package of a photo-z model for tables, or fails its own card or golden file.
    """
    card = read_table_card(folder)
    findings, model = _inspect(Path(folder), card)
    if model is None:
        raise ModelError(f"photo-z model {str(folder)!r} is refused: {'; '.join(findings)}")
    return model


def check_photoz(folder: str | Path) -> list[str]:
    """All findings against the package in `folder`, empty for a good one."""
    try:
        card = read_table_card(folder)
    except ModelError as error:
        return [str(error)]
    return _inspect(Path(folder), card)[0]


def is_photoz_package(folder: str | Path) -> bool:
    """Whether `folder` has a card that calls itself one of a photo-z model for tables."""
    try:
        values = card_values(folder)
    except (ModelError, OSError):
        return False
    return isinstance(values, dict) and values.get("task") == TASK


def _inspect(folder: Path, card: TableCard) -> tuple[list[str], PhotozModel | None]:
    """Findings and, where there are none, the model."""
    findings = file_findings(folder, card.sha256, _GOLDEN_ENTRIES)
    if findings:
        return findings, None
    try:
        model = PhotozModel(card, _read_members(folder, card))
        arrays = read_arrays(folder, GOLDEN_FILE, card.sha256, _GOLDEN_ENTRIES)
        with np.errstate(all="ignore"):
            found, expected = model.predict_raw(arrays["flux"], arrays["flux_err"]), arrays["raw"]
        if (
            found.shape != expected.shape
            or not len(found)
            or found.shape[2] % 3
            or found.size < 3 * card.n_components * len(found)
        ):
            return [f"the networks give {found.shape}, {GOLDEN_FILE} has {expected.shape}"], None
    except ModelError as error:
        return [str(error)], None
    except (ValueError, TypeError, KeyError, OSError, RuntimeError, IndexError) as error:
        return [f"{MODEL_FILE} or {GOLDEN_FILE} cannot be read: {error}"], None
    difference = golden_difference(found, expected)
    if difference > GOLDEN_TOLERANCE:
        return [f"outputs differ from {GOLDEN_FILE} by {difference:.2g}, allowed are {GOLDEN_TOLERANCE:.2g}"], None
    return [], model


def _read_members(folder: Path, card: TableCard) -> list[Layers]:
    """Kernels and biases of the dense layers of each member in the Keras file."""
    import h5py

    entries, _ = checked_network(folder, MODEL_FILE, card.sha256)
    stored = io.BytesIO(entries[WEIGHTS_ENTRY])
    with h5py.File(stored, "r") as file:
        named = {str(group.attrs["name"]): (group["0"][:], group["1"][:]) for group in _variables(file) if "0" in group}
    members: list[Layers] = []
    while len(members) < card.settings.members and layer_name(len(members), 0) in named:
        places = range(len(named))
        names = [layer_name(len(members), place) for place in places]
        members.append([named[name] for name in names if name in named])
    return members


def _variables(file: Any) -> Iterator[Any]:
    """The groups of the layers' variables in Keras's file of weights."""
    for layer in file["layers"].values():
        yield layer["vars"]
