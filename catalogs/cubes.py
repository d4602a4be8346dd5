"""Columns that are planes of a cube: the fluxes along bands, the morphologies along answers.

Catalogs have a column per band and per answer; xarray is pleasanter with dims (source, band) and (source, answer). Which columns
belong together stands in their metadata (`surveycnn.schema.Plane`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import xarray as xr

from surveycnn.catalogs.tables import CUBE_KEY, field_attrs
from surveycnn.schema import SOURCE_DIM, Plane


@dataclass(frozen=True)
class Cube:
    """A variable of dims (source, `dim`) made of `columns`."""

    name: str
    dim: str
    labels: tuple[str, ...]
    """Coordinates along `dim`."""
    columns: tuple[str, ...]
    """Names of the columns, in the order of the labels."""
    attrs: dict[str, str | list[str]]


def cubes_of(schema: pa.Schema) -> list[Cube]:
    """Cubes of the columns of a table; none whose name is taken, that lacks a plane, or that has planes of several types."""
    planes: dict[tuple[str, str], dict[str, pa.Field]] = {}
    labels: dict[str, dict[str, None]] = {}
    for field in schema:
        plane = Plane.parse(field_attrs(field).get("plane", ""))
        if plane is not None and plane.dim != SOURCE_DIM and not pa.types.is_nested(field.type):
            planes.setdefault((plane.cube, plane.dim), {}).setdefault(plane.label, field)
            labels.setdefault(plane.dim, {})[plane.label] = None
    taken = {*schema.names, *labels}
    cubes = []
    for (name, dim), fields in planes.items():
        whole = fields.keys() == labels[dim].keys() and len({field.type for field in fields.values()}) == 1
        if whole and name not in taken and dim not in schema.names:
            taken.add(name)
            ordered = [fields[label] for label in labels[dim]]
            cubes.append(Cube(name, dim, tuple(labels[dim]), tuple(field.name for field in ordered), _attrs(dim, ordered)))
    return cubes


def _attrs(dim: str, fields: list[pa.Field]) -> dict[str, str | list[str]]:
    """What holds for all planes, and the names of their columns."""
    attrs: dict[str, str | list[str]] = {"description": f"the columns {fields[0].name} to {fields[-1].name} along {dim}"}
    for key in ("units", "ucd", "filled_by"):
        found = {field_attrs(field).get(key) for field in fields}
        if len(found) == 1 and (text := found.pop()):
            attrs[key] = text
    return attrs | {CUBE_KEY: [field.name for field in fields]}


def with_cubes(dataset: xr.Dataset, schema: pa.Schema) -> xr.Dataset:
    """The dataset of a table of `schema` with its cubes and their coordinates; the columns become views of the cubes."""
    variables: dict[str, xr.Variable] = {}
    coords: dict[str, list[str]] = {}
    for cube in cubes_of(schema):
        first = dataset[cube.columns[0]]
        values = np.empty((first.size, len(cube.columns)), first.dtype, order="F")
        for place, name in enumerate(cube.columns):
            values[:, place] = dataset[name].values
            variables[name] = xr.Variable(SOURCE_DIM, values[:, place], dataset[name].attrs)
        variables[cube.name] = xr.Variable((SOURCE_DIM, cube.dim), values, cube.attrs)
        coords[cube.dim] = list(cube.labels)
    return dataset.assign(variables).assign_coords(coords)
