"""Which sources of a catalog labels belong to, and which part of the training each of them joins."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from surveycnn.catalogs.healpix import healpix_index
from surveycnn.catalogs.query import Catalog
from surveycnn.errors import InputError
from surveycnn.labels.tables import Labels

N_NEIGHBORS = 20
"""Labels within the radius of one source that are looked at."""
CELL_ORDER = 13
"""HEALPix order of the cells, of 26 arcsec, that are in one part of the training with all that lies in them."""
TEST_SHARE, STOP_SHARE = 0.25, 0.2
PARTS = ("train", "stop", "test")


@dataclass(frozen=True)
class Sources:
    """Labelled sources of a catalog, one row each."""

    label: np.ndarray
    """bool."""
    source_id: np.ndarray
    ra: np.ndarray
    dec: np.ndarray
    mosaic: np.ndarray
    y: np.ndarray
    x: np.ndarray
    """Pixels of the mosaic."""

    def __len__(self) -> int:
        return len(self.label)


def sources_of(catalog: Catalog, labels: Labels, radius_arcsec: float) -> tuple[Sources, np.ndarray]:
    """Sources of a catalog with their labels, and which labels (label,) have one.

    The nearest primary source within the radius, or that of the same id where a label has no position. Of several labels of one
    source the first counts.

    Raises
    ------
    InputError
        Where two labels of one source contradict each other.
    """
    names = ["source_id", "ra", "dec", "mosaic", "y", "x"]
    placed = np.flatnonzero(np.isfinite(labels.ra))
    number, rows = np.zeros(0, np.int64), []
    if placed.size:
        table = pa.table({"ra": labels.ra[placed], "dec": labels.dec[placed], "number": placed})
        primary = catalog.where("is_primary").select(names)
        found = primary.crossmatch(table, radius_arcsec, suffix="_label", n_neighbors=N_NEIGHBORS).to_pandas()
        nearest = found.sort_values("separation", kind="stable").drop_duplicates("number_label")
        number, rows = nearest["number_label"].to_numpy(np.int64), [nearest[names]]
    by_id = np.flatnonzero(labels.source_id >= 0)
    if by_id.size:
        found = catalog.ids(np.unique(labels.source_id[by_id])).select(names).to_pandas()
        place = {int(source): index for index, source in enumerate(found["source_id"])}
        there = [index for index in by_id if int(labels.source_id[index]) in place]
        number = np.append(number, there).astype(np.int64)
        rows.append(found[names].iloc[[place[int(labels.source_id[index])] for index in there]])
    columns = {name: np.concatenate([part[name].to_numpy() for part in rows]) for name in names}
    columns = {"label": labels.value[number]} | columns
    _, first = np.unique(columns["source_id"], return_index=True)
    _check_agreement(columns["source_id"], columns["label"])
    is_matched = np.isin(np.arange(len(labels)), number)
    return Sources(**{name: values[first] for name, values in columns.items()}), is_matched


def _check_agreement(source_id: np.ndarray, label: np.ndarray) -> None:
    torn = np.intersect1d(source_id[label], source_id[~label])
    if torn.size:
        raise InputError(
            f"{torn.size} sources have labels of both kinds, the first is {torn[0]}: decide for one of them, or give a smaller "
            "match_arcsec"
        )


def part_of(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Part of the training (object,) that each place on the sky is in, as a number of :data:`PARTS`.

    It depends on the cell of the sky alone: what is held out stays so when labels join, when the seed changes, and when the model
    is trained further once more. A centroid that moves by 0.02 arcsec leaves its cell in one case of some 300; stamps at the
    border of a cell share pixels with those beyond.
    """
    cells = healpix_index(ra, dec) >> 2 * (29 - CELL_ORDER)
    drawn = np.array([_uniform(int(cell)) for cell in cells])
    return np.where(drawn < TEST_SHARE, 2, np.where(drawn < TEST_SHARE + STOP_SHARE, 1, 0))


def _uniform(cell: int) -> float:
    return int.from_bytes(hashlib.sha256(str(cell).encode()).digest()[:6], "big") / 2**48
