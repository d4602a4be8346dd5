"""Queries on a published catalog: lazy steps, then rows as astropy, pandas, xarray, qp or lsdb objects, or as a file.

Steps are remembered and checked when they are written; rows are read by the method that asks for them, only the columns and the
partitions of the sky that the steps need.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from surveycnn.catalogs.formats import export
from surveycnn.catalogs.formats.reading import reading
from surveycnn.catalogs.publishing.swap import read_settled
from surveycnn.catalogs.selection.expression import parse_condition, unknown_column
from surveycnn.catalogs.selection.ids import COLUMN, Ids
from surveycnn.catalogs.selection.regions import Box, Cone, Polygon
from surveycnn.catalogs.selection.selecting import Selection
from surveycnn.catalogs.selection.steps import Step, Top, columns_of
from surveycnn.catalogs.source import COVERAGE, PROVENANCE, HatsSource, Source, local_folder, open_source, sky_of
from surveycnn.catalogs.tables import arrow_to_astropy, arrow_to_dataset, arrow_to_numpy, field_attrs
from surveycnn.errors import CatalogError

if TYPE_CHECKING:
    import lsdb
    import pandas as pd
    import qp
    import xarray as xr
    from astropy.table import Table
    from distributed import Client
    from mocpy import MOC
    from numpy.typing import ArrayLike

    from surveycnn.catalogs.lens_candidates import LensCandidates
    from surveycnn.catalogs.origin import Origin
    from surveycnn.catalogs.redshifts import RedshiftDistribution


@dataclass(frozen=True, eq=False)
class Catalog:
    """Rows of a catalog, read when asked for.

    Every method that selects gives a new catalog; nothing is changed. Selections apply in the order in which they are written.
    """

    _source: Source
    name: str
    path: Path | None = None
    """Folder of the catalog; None for a result of a cross-match."""
    steps: tuple[tuple[str, Step], ...] = ()
    """Selections so far, each with its text."""
    _selected: tuple[str, ...] | None = None
    _client: Any = None

    # -- what it is --------------------------------------------------------------------------------------------------------

    @property
    def schema(self) -> pa.Schema:
        """Columns with types, units, UCDs and descriptions."""
        return pa.schema([self._source.schema.field(name) for name in self.columns])

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return list(self._selected if self._selected is not None else self._source.schema.names)

    @cached_property
    def _n_rows(self) -> int:
        return self._selection.count()

    def __len__(self) -> int:
        return self._n_rows

    @property
    def provenance(self) -> dict[str, Any]:
        """What the run recorded about itself; empty where there is no record."""
        path = self.path / PROVENANCE if self.path is not None else None
        if path is None or not path.is_file():
            return {}
        with reading(path):
            return json.loads(path.read_text(encoding="utf-8"))

    @property
    def coverage(self) -> MOC:
        """MOC of the sky that was searched."""
        from mocpy import MOC

        if self.path is None or not (self.path / COVERAGE).is_file():
            raise CatalogError(f"catalog {self.name!r} has no {COVERAGE}")
        with reading(self.path / COVERAGE):
            return MOC.from_fits(self.path / COVERAGE)

    def coverage_of(self, model: str) -> MOC:
        """MOC of the sky that a model has searched: without the mosaics on which it was skipped for want of a band."""
        from surveycnn.catalogs.selection.moc_region import read_model_coverage

        return read_model_coverage(self.path, model, self.name)

    # -- selections --------------------------------------------------------------------------------------------------------

    def cone(self, ra: float, dec: float, radius_arcsec: float) -> Catalog:
        """Rows within `radius_arcsec` of a position in degrees."""
        ra, dec, radius_arcsec = _numbers("cone", ra, dec, radius_arcsec)
        return self._with(f"cone({ra:g}, {dec:g}, {radius_arcsec:g} arcsec)", Cone(ra, dec, radius_arcsec / 3600))

    def box(self, ra_min: float, ra_max: float, dec_min: float, dec_max: float) -> Catalog:
        """Rows between two meridians, eastward from `ra_min` to `ra_max` (over 0 where that is larger), and two parallels."""
        ra_min, ra_max, dec_min, dec_max = _numbers("box", ra_min, ra_max, dec_min, dec_max)
        text = f"box({ra_min:g} to {ra_max:g}, {dec_min:g} to {dec_max:g})"
        return self._with(text, Box(ra_min, ra_max, dec_min, dec_max))

    def polygon(self, vertices: Sequence[tuple[float, float]]) -> Catalog:
        """Rows inside a polygon of great circles through (ra, dec) pairs in degrees, convex or not."""
        return self._with(f"polygon of {len(vertices)} vertices", Polygon.of(vertices))

    def moc(self, moc: MOC | str | Path) -> Catalog:
        """Rows in the cells of a MOC: a ``mocpy.MOC``, or a file of one."""
        from surveycnn.catalogs.selection.moc_region import MocRegion

        text = f"moc {str(moc)!r}" if isinstance(moc, str | Path) else "moc"
        return self._with(text, MocRegion.of(moc))

    def ids(self, ids: Iterable[int]) -> Catalog:
        """Rows whose source_id is one of `ids`, in the order of the catalog; ids that it does not have are left out."""
        self._check_columns([COLUMN])
        step = Ids.of(ids)
        return self._with(f"{len(step.values)} ids", step)

    def where(self, condition: str) -> Catalog:
        """Rows for which a condition holds, such as ``"lens_prob > 0.9 and not has_flag('edge')"``.

        Comparisons (chained, too), and, or, not, & | ~, arithmetic, ``in``, indices such as ``pz_weight[0]``, and the
        functions of :data:`surveycnn.catalogs.selection.expression.FUNCTIONS`. Comparisons with NaN are false, but for ``!=``.
        """
        return self._with(f"where {condition}", parse_condition(condition, self._source.schema))

    def top(self, n: int, by: str) -> Catalog:
        """The `n` rows with the largest values of column `by`, in descending order."""
        self._check_columns([by])
        kind = self._source.schema.field(by).type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            raise CatalogError(f"top: column {by!r} is of type {kind}, expected one number per row")
        if n < 0 or n != int(n):
            raise CatalogError(f"top: {n} rows asked for, expected a whole number, none or more")
        return self._with(f"top {n} by {by}", Top(int(n), by))

    def select(self, columns: Sequence[str]) -> Catalog:
        """The same rows with `columns` only, in this order."""
        if isinstance(columns, str):
            raise CatalogError(f"select: found the text {columns!r}, expected a list of columns, such as [{columns!r}]")
        self._check_columns(columns)
        if not columns or len(set(columns)) < len(columns):
            raise CatalogError(f"select: columns are {list(columns)!r}, expected at least one, none twice")
        return replace(self, _selected=tuple(columns))

    def crossmatch(
        self,
        other: object,
        radius_arcsec: float = 1.0,
        suffix: str = "_other",
        *,
        how: str = "inner",
        n_neighbors: int = 1,
        ra: str | None = None,
        dec: str | None = None,
    ) -> Catalog:
        """Rows with the nearest rows of `other` within a radius, their columns and the separation; read when asked for.

        Parameters
        ----------
        other
            A catalog, or its folder: ours, or any HATS catalog, which is read only around the rows; a table (astropy, pandas,
            Arrow), a ``SkyCoord``, or a file of a table, which are held in memory.
        suffix
            Added to the names of the columns of `other`.
        how
            "inner": rows that have a counterpart. "left": all rows, with a separation of NaN where there is none, and NaN, empty
            text, False, or the null value of whole numbers in the columns of `other`.
        n_neighbors
            Rows of `other` for each row at most; rows are repeated.
        ra, dec
            Columns of `other` with the positions; by default they are found by UCD or name. In degrees, or in the unit that
            the column has.
        """
        from surveycnn.catalogs.crossmatch import matched
        from surveycnn.catalogs.positioned import rows_of, rows_of_catalog

        ours, theirs = rows_of_catalog(self), rows_of(other, ra, dec)
        source = matched(
            ours, theirs, radius_arcsec=radius_arcsec, n_neighbors=n_neighbors, how=how, our_suffix="", their_suffix=suffix
        )
        return Catalog(source, f"{self.name} crossmatch")

    def counterparts_of(
        self,
        other: object,
        radius_arcsec: float = 1.0,
        suffix: str = "_other",
        *,
        model: str | None = None,
        ra: str | None = None,
        dec: str | None = None,
    ) -> Catalog:
        """Rows of `other` in the sky that was searched, each with our nearest row within a radius, or none.

        The columns are those of :meth:`crossmatch`, which has the parameters, those of `other` first. A separation of NaN says
        that the place was searched and nothing is there that is selected: NaN, empty text, False, or null in our columns.

        Parameters
        ----------
        model
            Name of a model: the sky that it has searched, instead of the whole survey's.
        """
        from surveycnn.catalogs.crossmatch import matched
        from surveycnn.catalogs.positioned import rows_inside, rows_of
        from surveycnn.catalogs.selection.moc_region import MocRegion
        from surveycnn.catalogs.selection.steps import limits_of

        searched = MocRegion.of(self.coverage if model is None else self.coverage_of(model))
        regions = limits_of([step for _, step in self.steps]).regions
        theirs, ours = rows_inside(rows_of(other, ra, dec), [searched, *regions]), rows_of(self)
        source = matched(theirs, ours, radius_arcsec=radius_arcsec, how="left", our_suffix=suffix, their_suffix="")
        return Catalog(source, f"{self.name} counterparts")

    def on(self, client: Client | None) -> Catalog:
        """The same rows, read by the workers of a Dask cluster, which need to see the catalog's folder under the same path.

        One task reads a file; as many as the workers have threads run at a time, and their rows come back in order.

        Parameters
        ----------
        client
            A ``distributed.Client``, or None to read in this process again.
        """
        if client is not None and not all(hasattr(client, name) for name in ("submit", "nthreads")):
            raise CatalogError(f"on: found {type(client).__name__}, expected a distributed.Client")
        return replace(self, _client=client)

    def _with(self, text: str, step: Step) -> Catalog:
        self._check_columns(columns_of([step], sky_of(self._source)))
        return replace(self, steps=(*self.steps, (text, step)))

    def _check_columns(self, columns: Sequence[str]) -> None:
        known = dict.fromkeys(self._source.schema.names)
        for name in columns:
            if name not in known:
                raise unknown_column(name, known)

    # -- rows --------------------------------------------------------------------------------------------------------------

    def __getitem__(self, column: str) -> np.ndarray:
        self._check_columns([column])
        return arrow_to_numpy(self.select([column]).to_arrow()[column])

    def to_arrow(self) -> pa.Table:
        """Arrow table of the rows, units and UCDs as field metadata."""
        tables = [table.cast(self.schema) for table in self.scan(self.columns)]
        return pa.concat_tables(tables) if tables else self.schema.empty_table()

    def to_table(self) -> Table:
        """Astropy table of the rows, with units and descriptions; the UCD in each column's ``meta``."""
        return arrow_to_astropy(self.to_arrow())

    def to_pandas(self) -> pd.DataFrame:
        """Data frame of the rows; a mixture's column holds one array per row."""
        return self.to_arrow().to_pandas()

    def to_xarray(self) -> xr.Dataset:
        """Dataset of the rows, with units and descriptions as attributes, and cubes of the columns that are planes of one."""
        from surveycnn.catalogs.cubes import with_cubes

        table = self.to_arrow()
        return with_cubes(arrow_to_dataset(table), table.schema)

    def to_qp(self) -> qp.Ensemble:
        """qp ensemble of the redshift PDFs (Gaussian mixtures); rows without a PDF are left out, source_id tells which remain."""
        from surveycnn.catalogs import redshifts

        return redshifts.to_qp(self)

    def to_lsdb(self) -> lsdb.Catalog:
        """lsdb catalog of the rows: the HATS collection itself where nothing is selected, else the result in memory."""
        return export.to_lsdb(self)

    def write(self, path: str | Path) -> Path:
        """Write the rows to a .fits, .parquet, .csv, .ecsv, .vot or .zarr file, which appears whole or not at all."""
        return export.write(self.to_arrow(), Path(path))

    def scan(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Tables of the selected rows, in order and one at a time, so that memory is bounded however many there are.

        Parameters
        ----------
        columns
            Names of columns, selected or not; by default those that are selected.

        Examples
        --------
        >>> for table in catalog.where("is_primary").scan(["ra", "dec"]):  # doctest: +SKIP
        ...     counts += np.histogram2d(table["ra"], table["dec"], bins)[0]
        """
        wanted = self.columns if columns is None else list(columns)
        self._check_columns(wanted)
        return self._selection.tables(wanted)

    @property
    def _selection(self) -> Selection:
        return Selection(self._source, tuple(step for _, step in self.steps), self._client)

    # -- photometric redshifts ---------------------------------------------------------------------------------------------

    def redshift_pdf(self, z: ArrayLike) -> np.ndarray:
        """Densities (row, z) of the redshift PDFs at the redshifts `z`, NaN without a PDF; 8 bytes each."""
        from surveycnn.catalogs import redshifts

        return redshifts.pdf_of(self, z)

    def redshift_quantiles(self, q: ArrayLike) -> np.ndarray:
        """Redshifts (row, q) below which the fractions `q` of the PDFs lie: 0.5 is `z_phot`, 0.16 and 0.84 are its limits."""
        from surveycnn.catalogs import redshifts

        return redshifts.quantiles_of(self, q)

    def draw_redshifts(self, n_draws: int = 1, seed: int = 0) -> np.ndarray:
        """Redshifts (row, draw) drawn from the PDFs: a source's are the same in every selection and order of the rows."""
        from surveycnn.catalogs import redshifts

        return redshifts.draws_of(self, n_draws, seed)

    def n_of_z(self, edges: ArrayLike, weights: str | ArrayLike | None = None) -> RedshiftDistribution:
        """n(z) in bins between `edges`: the PDFs summed, each row counting 1, or a column's value, or one of an array."""
        from surveycnn.catalogs import redshifts

        return redshifts.n_of_z(self, edges, weights)

    # -- lenses ------------------------------------------------------------------------------------------------------------

    def lens_candidates(
        self, contaminants_per_deg2: float, *, outside_domain: bool = False, area_deg2: float | None = None
    ) -> LensCandidates:
        """The longest list by `lens_prob` whose expected contaminants per square degree stay within a budget.

        Primary rows alone; those unlike the lens model's training set only where `outside_domain` asks for them. The area is
        the coverage of the lens model inside the selection's cones, boxes, polygons and MOCs, unless `area_deg2` gives it.
        """
        from surveycnn.catalogs.lens_candidates import lens_candidates

        return lens_candidates(self, contaminants_per_deg2, outside_domain=outside_domain, area_deg2=area_deg2)

    # -- provenance --------------------------------------------------------------------------------------------------------

    def origin(self, source_id: int) -> Origin:
        """Where a row comes from: mosaic, tile and pixel, image files with digests and zero points, models, run, versions."""
        from surveycnn.catalogs.origin import origin

        return origin(self, source_id)

    # -- shown -------------------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        lines = [f"<Catalog {self.name!r}: {self._source.count():,} rows, {len(self.columns)} columns>"]
        lines += [f"  {text}" for text, _ in self.steps]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return export.to_html(self)

    @property
    def n_published(self) -> int:
        """Rows before any selection."""
        return self._source.count()

    @property
    def published_columns(self) -> list[str]:
        """Names of the columns before any selection."""
        return self._source.schema.names

    @property
    def hats_path(self) -> Path | None:
        """Folder of the HATS collection, where the rows come from one."""
        return self._source.hats_dir if isinstance(self._source, HatsSource) else None


def _numbers(what: str, *values: float) -> tuple[float, ...]:
    try:
        return tuple(float(value) for value in values)
    except (TypeError, ValueError):
        raise CatalogError(f"{what}: found {values!r}, expected numbers") from None


def open_catalog(path: str | Path) -> Catalog:
    """Catalog in the output folder of a survey run, without reading its rows.

    Raises
    ------
    CatalogError
        Where the folder holds no catalog, or is a URL.
    """
    folder = local_folder(path)
    return Catalog(read_settled(folder, lambda: open_source(folder)), folder.resolve().name, folder)


def field_summary(field: pa.Field) -> tuple[str, str, str, str]:
    """Name, type, unit and meaning of a column, for people."""
    attrs = field_attrs(field)
    kind = field.type
    text = f"{kind.value_type}[{kind.list_size}]" if pa.types.is_fixed_size_list(kind) else str(kind)
    return field.name, text, attrs.get("units", ""), attrs.get("description", "")
