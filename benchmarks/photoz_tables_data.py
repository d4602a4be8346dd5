"""The two tables of benchmarks/photoz_tables.py, one form for both, and written for those who read them.

``photoz_dc2``: mock LSST photometry u g r i z y of DESC's DC2, 10,225 rows to train on and 20,449 to score on, non-detections
with magnitudes of 99. ``photoz_sdss_mgs``: SDSS' Main Galaxy Sample, u g r i z, 5,000 and 5,000 rows of
the split that came with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

NOT_DETECTED = 99.0
DC2_LIMITS = {"u": 27.79, "g": 29.04, "r": 29.06, "i": 28.62, "z": 27.98, "y": 27.05}
"""1-sigma limits of RAIL's defaults, AB."""
SDSS_LIMITS = {"u": 22.0, "g": 22.2, "r": 22.2, "i": 21.3, "z": 20.5}
"""95 % completeness of point sources in SDSS imaging, AB; no row of the sample needs them."""


@dataclass(frozen=True)
class Half:
    """Photometry and redshifts of the training or the test half."""

    mag: np.ndarray
    """(object, band) float64 AB; 99 = not detected."""
    mag_err: np.ndarray
    """(object, band) float64."""
    redshift: np.ndarray
    """(object,) float64."""

    def __len__(self) -> int:
        return len(self.redshift)


@dataclass(frozen=True)
class Sample:
    """One of the two tables."""

    name: str
    title: str
    bands: tuple[str, ...]
    train: Half
    test: Half
    limits: dict[str, float]
    """Magnitudes that stand for non-detections where a method needs one."""
    ref_band: str
    """Band whose magnitude is a feature beside the colours."""
    z_max: float
    """Upper end of the grids of redshift of methods that have one."""
    grid: np.ndarray
    """(node,) redshifts at which densities are scored."""

    def magnitudes(self, half: Half) -> np.ndarray:
        """Magnitudes (object, band) with the limits in the place of non-detections."""
        return np.where(half.mag >= NOT_DETECTED, np.array([self.limits[band] for band in self.bands]), half.mag)


def read_dc2(folder: Path) -> Sample:
    """The DC2 table of `folder`, rows as they come: sorted by redshift."""
    bands = tuple("ugrizy")

    def half(name: str) -> Half:
        with h5py.File(folder / f"test_dc2_{name}_9816.hdf5") as file:
            table = file["photometry"]
            columns = [np.stack([table[f"{kind}_{band}_lsst"][:] for band in bands], axis=1) for kind in ("mag", "mag_err")]
            return Half(columns[0].astype(float), columns[1].astype(float), table["redshift"][:].astype(float))

    train, test = half("training"), half("validation")
    grid = np.linspace(-0.5, 4.0, 4501)
    return Sample("dc2", "DC2 mock, ugrizy", bands, train, test, DC2_LIMITS, "i", 3.0, grid)


def read_sdss(folder: Path) -> Sample:
    """The Main Galaxy Sample of `folder`; `eu` stands before `eg`, although the training file's first line leaves it out."""

    def half(name: str) -> Half:
        table = np.loadtxt(folder / f"SDSS_MGS.{name}")
        return Half(table[:, 1:6], table[:, 10:15], table[:, 0])

    train = half("train")
    z_max = float(np.ceil(1.1 * train.redshift.max() * 20) / 20)
    grid = np.linspace(-0.25, 0.75, 5001)
    return Sample("sdss", "SDSS main galaxies, ugriz", tuple("ugriz"), train, half("test"), SDSS_LIMITS, "r", z_max, grid)


def columns_of(sample: Sample, half: Half) -> dict[str, np.ndarray]:
    """Columns `mag_<band>`, `mag_err_<band>` and `redshift`."""
    columns = {f"mag_{band}": half.mag[:, k] for k, band in enumerate(sample.bands)}
    columns |= {f"mag_err_{band}": half.mag_err[:, k] for k, band in enumerate(sample.bands)}
    return columns | {"redshift": half.redshift}


def write_parquet(columns: dict[str, np.ndarray], path: Path) -> Path:
    """The columns as one Parquet file."""
    pq.write_table(pa.table(columns), path)
    return path


def write_hdf5(columns: dict[str, np.ndarray], path: Path) -> Path:
    """The columns in a group `photometry`, which is where RAIL looks."""
    with h5py.File(path, "w") as file:
        for name, values in columns.items():
            file[f"photometry/{name}"] = values
    return path
