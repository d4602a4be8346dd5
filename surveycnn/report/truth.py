"""Comparison with what is known of the sky: redshifts and classes of a table beside the catalog, or of one that is given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from surveycnn.catalogs.flags import flag_value
from surveycnn.catalogs.query import Catalog
from surveycnn.catalogs.redshifts import MIXTURE, known_gaussians
from surveycnn.catalogs.tables import arrow_to_numpy
from surveycnn.errors import CatalogError
from surveycnn.inference import mixture
from surveycnn.report.layout import FINDERS, Layout, numbers, whole_numbers

BESIDE = Path("simulated") / "truth.fits"
"""Where the demo leaves its truth."""
RADIUS_ARCSEC = 1.0
REDSHIFT_NAMES = ("z_true", "redshift", "z_spec", "zspec", "specz", "z_best", "z")
KIND_NAMES = ("kind", "class", "label", "type")
OUTLIER = 0.15
SUFFIX = "_truth"


@dataclass(frozen=True)
class Truth:
    """Primary rows with what is known of them."""

    path: str
    n_matched: int
    kinds: dict[int, str]
    """Kind by source_id, of all that match."""
    z_true: np.ndarray
    z_phot: np.ndarray
    pit: np.ndarray
    """Probability that the PDF gives to lower redshifts; NaN without a PDF."""
    inside: np.ndarray
    """Whether the source is inside of the photo-z model's domain."""
    scores: dict[str, tuple[np.ndarray, np.ndarray]]
    """Of each finder whose kind the truth names: probability, and whether it is one, inside of the model's domain."""

    @property
    def has_redshifts(self) -> bool:
        return self.z_true.size > 0


@dataclass(frozen=True)
class RedshiftMetrics:
    """Figures of merit of photometric redshifts; dz = (z_phot - z_true) / (1 + z_true)."""

    n: int
    bias: float
    """Median dz."""
    sigma_nmad: float
    """1.4826 times the median of abs(dz - median dz)."""
    outliers: float
    """Share with abs(dz) above 0.15."""

    @classmethod
    def of(cls, z_true: np.ndarray, z_phot: np.ndarray) -> RedshiftMetrics | None:
        known = np.isfinite(z_true) & np.isfinite(z_phot)
        if not known.any():
            return None
        dz = (z_phot[known] - z_true[known]) / (1 + z_true[known])
        middle = float(np.median(dz))
        spread = 1.4826 * float(np.median(np.abs(dz - middle)))
        return cls(int(known.sum()), middle, spread, float(np.mean(np.abs(dz) > OUTLIER)))


def find_truth(catalog: Catalog, given: str | Path | None) -> Path | None:
    """File of the truth: the one that is given, or the one that a simulation has left beside the catalog."""
    if given is not None:
        if not Path(given).is_file():
            raise CatalogError(f"--truth: there is no file {str(given)!r}: give a table with positions and redshifts or kinds")
        return Path(given)
    beside = (catalog.path or Path()) / BESIDE
    return beside if catalog.path is not None and beside.is_file() else None


def read_truth(catalog: Catalog, layout: Layout, path: Path) -> Truth:
    """Match the primary rows with a table, nearest within an arcsec.

    Raises
    ------
    CatalogError
        Where the table has neither redshifts nor kinds under a name that is known, or cannot be read.
    """
    rows = catalog.where("is_primary") if layout.has("is_primary") else catalog
    matched = rows.crossmatch(path, RADIUS_ARCSEC, suffix=SUFFIX)
    redshift, kind = (_column(matched, names, is_text) for names, is_text in ((REDSHIFT_NAMES, False), (KIND_NAMES, True)))
    if redshift is None and kind is None:
        raise CatalogError(
            f"{str(path)!r} has no column of redshifts ({', '.join(REDSHIFT_NAMES)}) or of kinds ({', '.join(KIND_NAMES)}): "
            "rename one"
        )
    wanted = [name for name in ("source_id", "flags", "z_phot", *(f"{task}_prob" for task in FINDERS)) if layout.has(name)]
    wanted += list(MIXTURE) if layout.has_mixture else []
    tables = list(matched.scan([*wanted, *(name for name in (redshift, kind) if name is not None)]))
    table = pa.concat_tables(tables) if tables else matched.select([*wanted, *filter(None, (redshift, kind))]).to_arrow()
    return _truth(table, layout, path, redshift, kind)


def _column(matched: Catalog, names: tuple[str, ...], is_text: bool) -> str | None:
    """First of the columns of the table of a kind that is right; where the catalog has one of its name, it has got a suffix."""
    for name in names:
        for found in (name + SUFFIX, name):
            if found in matched.columns:
                kind = matched.schema.field(found).type
                number = pa.types.is_floating(kind) or pa.types.is_integer(kind)
                if number != is_text:
                    return found
    return None


def _truth(table: pa.Table, layout: Layout, path: Path, redshift: str | None, kind: str | None) -> Truth:
    flags = whole_numbers(table, "flags") if layout.has("flags") else np.zeros(table.num_rows, np.int64)
    kinds = np.array([_text(value) for value in table[kind].to_pylist()], dtype=object) if kind else np.zeros(0, object)
    z_true = z_phot = pit = np.zeros(0)
    known = np.zeros(table.num_rows, bool)
    if redshift is not None and layout.has("z_phot"):
        z_true, z_phot = numbers(table, redshift), numbers(table, "z_phot")
        known = np.isfinite(z_true) & (z_true > 0) & np.isfinite(z_phot) & ((kinds != "star") if kind else True)
        z_true, z_phot = z_true[known], z_phot[known]
        pit = np.full(len(z_true), np.nan)
        if layout.has_mixture and len(z_true):
            has_pdf, gaussians = known_gaussians(*(arrow_to_numpy(table[name])[known] for name in MIXTURE))
            pit[has_pdf] = mixture.cdf(z_true[has_pdf], *gaussians)
    ids = whole_numbers(table, "source_id").tolist() if layout.has("source_id") and kind else []
    scores = {}
    for task in FINDERS:
        if kind and layout.has(f"{task}_prob") and (kinds == task).any():
            inside = (flags & flag_value(f"outside_domain_{task}")) == 0
            scores[task] = numbers(table, f"{task}_prob")[inside], (kinds == task)[inside]
    inside = ((flags & flag_value("outside_domain_photoz")) == 0)[known] if len(z_true) else np.zeros(0, bool)
    return Truth(path.name, table.num_rows, dict(zip(ids, kinds.tolist(), strict=False)), z_true, z_phot, pit, inside, scores)


def _text(value: object) -> str:
    return value.decode("utf-8", "replace").strip() if isinstance(value, bytes) else str(value or "").strip()
