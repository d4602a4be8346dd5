"""Which columns of a catalog the report can show: those of ours that are there and are of the kind that they should be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from surveycnn.bands import KNOWN_BANDS
from surveycnn.catalogs.query import Catalog
from surveycnn.catalogs.redshifts import MIXTURE
from surveycnn.catalogs.source import sky_of
from surveycnn.catalogs.tables import arrow_to_numpy

DOMAIN_COLUMNS = {"lens": "lens_domain", "morphology": "morph_domain", "merger": "merger_domain", "photoz": "pz_domain"}
"""Distance from the training set, by the task of the model."""
FINDERS = ("lens", "merger")
"""Tasks that give a logit, a score and a probability."""
ARTIFACT = "morph_smooth_or_featured_artifact"
SOURCE_COLUMNS = ("source_id", "mosaic", "x", "y", "is_primary", "flags", "flux_radius")
MAX_COMPONENTS = 100
LARGEST = 1e30
_WAVELENGTH = ["FUV", "NUV", *(band for band in KNOWN_BANDS if band not in ("FUV", "NUV"))]


@dataclass(frozen=True)
class Layout:
    """Columns of a catalog that the report reads."""

    ra: str
    dec: str
    bands: tuple[str, ...]
    """Bands with fluxes, from short to long wavelengths."""
    answers: tuple[str, ...]
    """Columns of vote fractions."""
    names: frozenset[str]
    """All columns that are read, these included."""

    @classmethod
    def of(cls, catalog: Catalog) -> Layout:
        """Layout of a catalog, whoever has made it."""
        schema = catalog.schema
        sky = sky_of(catalog._source)
        ra, dec = sky.ra, sky.dec
        numbers = {field.name for field in schema if _is_number(field.type)}
        bands = [name.removeprefix("flux_") for name in numbers if name.replace("flux_", "flux_err_", 1) in numbers - {name}]
        answers = [name for name in schema.names if name.startswith("morph_") and f"{name}_conc" in numbers and name in numbers]
        wanted = {ra, dec, *SOURCE_COLUMNS, *DOMAIN_COLUMNS.values(), "z_phot", "z_phot_lo", "z_phot_hi"}
        wanted |= {f"{finder}_{kind}" for finder in FINDERS for kind in ("logit", "score", "prob")}
        wanted |= {"merger_time", "merger_time_err"}
        found = {name for name in wanted if name in numbers or (name in schema.names and _fits(name, schema.field(name).type))}
        found |= {f"flux_{band}" for band in bands} | set(answers) | _mixture(schema)
        return cls(ra, dec, tuple(sorted(bands, key=_by_wavelength)), tuple(answers), frozenset(found))

    def has(self, *names: str) -> bool:
        """Whether all these columns are there."""
        return self.names.issuperset(names)

    @property
    def has_places(self) -> bool:
        return self.has(self.ra, self.dec)

    @property
    def has_mixture(self) -> bool:
        return self.has(*MIXTURE)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks of the models that have left columns."""
        shown = {"lens": "lens_logit", "morphology": next(iter(self.answers), ""), "merger": "merger_logit", "photoz": "z_phot"}
        return tuple(task for task, name in shown.items() if name in self.names)


def _by_wavelength(band: str) -> tuple[int, str]:
    return (_WAVELENGTH.index(band) if band in _WAVELENGTH else len(_WAVELENGTH)), band


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_floating(kind) or pa.types.is_integer(kind)


def _fits(name: str, kind: pa.DataType) -> bool:
    """Whether a column of ours that holds no number is what it should be."""
    if name == "mosaic":
        return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind)
    return name == "is_primary" and pa.types.is_boolean(kind)


def _mixture(schema: pa.Schema) -> set[str]:
    """Columns of the redshift mixtures, if all are lists of equally many numbers."""
    kinds = [schema.field(name).type for name in MIXTURE if name in schema.names]
    lists = [kind for kind in kinds if pa.types.is_fixed_size_list(kind) and pa.types.is_floating(kind.value_type)]
    sizes = {kind.list_size for kind in lists}
    return set(MIXTURE) if len(lists) == len(MIXTURE) and len(sizes) == 1 and 0 < sizes.pop() <= MAX_COMPONENTS else set()


def numbers(table: pa.Table, name: str) -> np.ndarray:
    """Values of a column in double precision, NaN where there is none, or one beyond all that a survey measures."""
    column = table.column(name)
    if pa.types.is_integer(column.type) and column.null_count:
        column = column.cast(pa.float64())
    values = arrow_to_numpy(column).astype(np.float64)
    values[~(np.abs(values) < LARGEST)] = np.nan
    return values


def whole_numbers(table: pa.Table, name: str) -> np.ndarray:
    """Values of a column as int64, 0 where there is none."""
    values = arrow_to_numpy(table.column(name))
    if values.dtype.kind == "f":
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    return values.astype(np.int64)
