"""The vocabulary shared by arrays, columns, files and docs: named variables with dims, dtype, unit, UCD and meaning.

Every stage checks what it returns against a :class:`Schema`, every file is written from one, and the documentation of the
columns is printed from one, so the three cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from surveycnn.errors import SchemaError

SOURCE_DIM = "source"
"""Dimension along which the rows of a catalog run."""


@dataclass(frozen=True)
class Plane:
    """Place of a column in a cube of dims (source, `dim`): ``flux_r`` is the plane r of the cube flux along bands.

    >>> Plane.parse(str(Plane("flux", "band", "r")))
    Plane(cube='flux', dim='band', label='r')
    """

    cube: str
    dim: str
    label: str
    """Coordinate along `dim`."""

    def __str__(self) -> str:
        return f"{self.cube} {self.dim} {self.label}"

    @classmethod
    def parse(cls, text: str) -> Plane | None:
        """The plane that a text of :meth:`__str__` stands for; None where it stands for none."""
        parts = text.split(" ", 2)
        return cls(*parts) if len(parts) == 3 and all(parts) else None


@dataclass(frozen=True)
class Variable:
    """One named array or column."""

    name: str
    dtype: str
    """numpy dtype string (``"f4"``, ``"i8"``, ``"bool"``), or ``"str"`` for text."""
    doc: str
    """What it means, one sentence; NaN and masks included."""
    unit: str = ""
    """astropy unit string; empty for a pure number."""
    ucd: str = ""
    """IVOA UCD1+ word."""
    dims: tuple[str, ...] = (SOURCE_DIM,)
    sizes: tuple[int, ...] = ()
    """Lengths of the dims after ``source``."""
    filled_by: str = ""
    """The step that gives the values: detection, photometry, merge, lens model, ..."""
    null: int | None = None
    """Whole numbers: the value that stands for no value; None where every value is one."""
    plane: Plane | None = None
    """The place that the column has in a cube; None where it has none."""

    @property
    def is_text(self) -> bool:
        return self.dtype == "str"

    @property
    def attrs(self) -> dict[str, str]:
        """What files say of the column beside its values; keys without a value are left out."""
        attrs = {"description": self.doc, "units": self.unit, "ucd": self.ucd, "filled_by": self.filled_by}
        attrs |= {"null_value": "" if self.null is None else str(self.null), "plane": str(self.plane or "")}
        return {key: text for key, text in attrs.items() if text}

    def empty(self, n_rows: int = 0) -> np.ndarray:
        """Array of this variable with `n_rows` rows: NaN for floats, the null value or 0, False or "" else."""
        shape = (n_rows, *self.sizes)
        if self.is_text:
            return np.full(shape, "", dtype=object)
        dtype = np.dtype(self.dtype)
        return np.full(shape, np.nan if dtype.kind == "f" else self.null or 0, dtype)

    def check(self, values: np.ndarray) -> None:
        """Raise SchemaError where `values` has another shape or dtype than this variable."""
        if values.shape[1:] != self.sizes:
            raise SchemaError(f"column {self.name!r} has row shape {values.shape[1:]}, expected {self.sizes}")
        found = "str" if values.dtype.kind in "OUT" else values.dtype.str[1:] if values.dtype.kind != "b" else "bool"
        if found != self.dtype:
            raise SchemaError(f"column {self.name!r} has dtype {found}, expected {self.dtype}")


class Schema(Mapping[str, Variable]):
    """An ordered set of variables with distinct names.

    Examples
    --------
    >>> schema = Schema([Variable("ra", "f8", "right ascension", "deg", "pos.eq.ra;meta.main")])
    >>> list(schema), schema.empty().sizes["source"]
    (['ra'], 0)
    """

    def __init__(self, variables: Iterable[Variable]):
        self._variables: dict[str, Variable] = {}
        for variable in variables:
            if variable.name in self._variables:
                raise SchemaError(f"column {variable.name!r} is defined twice")
            self._variables[variable.name] = variable

    def __getitem__(self, name: str) -> Variable:
        return self._variables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)

    def __add__(self, other: Schema) -> Schema:
        return Schema([*self.values(), *other.values()])

    def __repr__(self) -> str:
        return f"Schema({', '.join(self)})"

    def dataset(self, columns: Mapping[str, np.ndarray]) -> xr.Dataset:
        """Dataset of `columns` in schema order with unit, ucd, doc and the rest as attributes; validated."""
        data_vars = {}
        for name, variable in self.items():
            if name not in columns:
                continue
            values = np.asarray(columns[name], dtype=object if variable.is_text else None)
            data_vars[name] = (variable.dims, values, variable.attrs)
        dataset = xr.Dataset(data_vars | {name: (SOURCE_DIM, columns[name]) for name in columns if name not in self})
        self.validate(dataset)
        return dataset

    def empty(self, n_rows: int = 0) -> xr.Dataset:
        """Dataset with `n_rows` rows of fill values, every column present."""
        return self.dataset({name: variable.empty(n_rows) for name, variable in self.items()})

    def validate(self, dataset: xr.Dataset) -> None:
        """Raise SchemaError unless `dataset` has exactly these columns with these dtypes and row shapes."""
        missing = [name for name in self if name not in dataset]
        unknown = [name for name in dataset.data_vars if name not in self]
        if missing or unknown:
            raise SchemaError(f"columns do not match the schema: missing {missing}, unknown {unknown}")
        for name, variable in self.items():
            variable.check(dataset[name].values)
