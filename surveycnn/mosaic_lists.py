"""Many mosaics from a manifest, a table with one row per image, or from placeholders in paths: both to a plain list.

Called by :mod:`surveycnn.config` on what stands under `mosaics` before it is validated; what is written out stays as it is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surveycnn.errors import ConfigError, did_you_mean
from surveycnn.mosaic_patterns import IMAGE_PATHS, absolute_path, expand_entry
from surveycnn.paths import is_url, split_path

MOSAIC_COLUMN = "mosaic"
"""Column of a manifest that holds the id of the mosaic."""
IMAGE_WCS_COLUMN = "image_wcs"
"""Column of a manifest for the `wcs` of an image; `wcs` is that of the mosaic."""

_NUMBERS = ("zeropoint", "plane", "nodata", "saturation", "ebv")
_SHOWN = 5

Tree = dict[str, Any]
Check = Callable[[Tree, str], object]


@dataclass(frozen=True)
class Keys:
    """Keys that a row of a manifest may fill, and how the sections that they make are checked."""

    image: Collection[str]
    mosaic: Collection[str]
    """Without id and images."""
    check_image: Check
    check_mosaic: Check

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that a manifest may have."""
        image = [IMAGE_WCS_COLUMN if key == "wcs" else key for key in self.image]
        return MOSAIC_COLUMN, *image, *self.mosaic


def expand_mosaics(mosaics: Any, folder: Path, keys: Keys) -> Any:
    """Plain list of mosaics from a manifest's path or a list some of whose entries have placeholders.

    Parameters
    ----------
    mosaics
        What stands under the key of that name; anything else than a path or a list comes back as it is, for the validation.
    folder
        What relative paths are relative to.

    Raises
    ------
    ConfigError, InputError
        Where a manifest or one of its rows cannot be used, or files that placeholders stand for are not there.
    """
    if isinstance(mosaics, str | os.PathLike):
        return read_manifest(str(mosaics), folder, keys)
    if not isinstance(mosaics, list | tuple):
        return mosaics
    return [mosaic for number, entry in enumerate(mosaics) for mosaic in expand_entry(entry, folder, f"key 'mosaics[{number}]'")]


def read_manifest(path: str, folder: Path, keys: Keys) -> list[Tree]:
    """Mosaics of a table with one row per image, in the order of their first rows, which messages count from 1.

    The paths in it are relative to the folder of the table.
    """
    from surveycnn.tables.files import read_table

    if is_url(path):
        raise ConfigError(f"key 'mosaics': the manifest {path!r} is a URL: copy it here; the images in it may be URLs")
    file = folder / Path(path).expanduser()
    where = f"manifest {str(file)!r}"
    table = read_table(file, text=[name for name in keys.columns if name not in _NUMBERS])
    _check_columns(table.column_names, keys, where)
    rows = [{key: _cell(key, value) for key, value in row.items()} for row in table.to_pylist()]
    if not rows:
        raise ConfigError(f"{where} has no rows: give one row per image")
    mosaics: dict[str, list[tuple[int, Tree]]] = {}
    for number, row in enumerate(rows, 1):
        for key in (MOSAIC_COLUMN, "band", "path"):
            if row[key] is None:
                raise ConfigError(f"{where}, row {number}: no {key!r}: fill the cell")
        mosaics.setdefault(row[MOSAIC_COLUMN], []).append((number, row))
    folder = Path(split_path(str(file))[0]).parent
    return [_mosaic_of_rows(name, members, folder, keys, where) for name, members in mosaics.items()]


def _check_columns(found: Sequence[str], keys: Keys, where: str) -> None:
    for name in found:
        if name not in keys.columns:
            hint = did_you_mean(name, keys.columns)
            raise ConfigError(f"{where}: unknown column {name!r}: {hint}allowed columns are {', '.join(keys.columns)}")
    missing = [key for key in (MOSAIC_COLUMN, "band", "path") if key not in found]
    if missing:
        raise ConfigError(
            f"{where} has no column {' and no column '.join(map(repr, missing))}: its columns are {', '.join(found)}; "
            "each row is one image with mosaic, band and path"
        )


def _cell(name: str, value: Any) -> Any:
    """Value of a cell, None where it is empty; a name that the file holds as a number is text, without a float's fraction."""
    if value is None or value != value or (isinstance(value, str) and not value.strip()):
        return None
    if name in _NUMBERS:
        return value
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def _mosaic_of_rows(name: str, rows: list[tuple[int, Tree]], folder: Path, keys: Keys, where: str) -> Tree:
    mosaic: Tree = {"id": name}
    for key in keys.mosaic:
        given = [(number, row[key]) for number, row in rows if row.get(key) is not None]
        other = next(((number, value) for number, value in given if value != given[0][1]), None)
        if other is not None:
            raise ConfigError(
                f"{where}: mosaic {name!r} has {key} {given[0][1]!r} in row {given[0][0]} and {other[1]!r} in row {other[0]}: "
                "give one value"
            )
        if given:
            mosaic[key] = given[0][1]
    if "wcs" in mosaic:
        mosaic["wcs"] = absolute_path(mosaic["wcs"], folder)
    mosaic["images"] = []
    for number, row in rows:
        image = {key: row.get(IMAGE_WCS_COLUMN if key == "wcs" else key) for key in keys.image}
        image = {key: value for key, value in image.items() if value is not None}
        keys.check_image(image, f"{where}, row {number}")
        mosaic["images"].append(image | {key: absolute_path(str(image[key]), folder) for key in IMAGE_PATHS if key in image})
    numbers = ", ".join(str(number) for number, _ in rows[:_SHOWN]) + (", ..." if len(rows) > _SHOWN else "")
    keys.check_mosaic(mosaic, f"{where}, row{'s' if len(rows) > 1 else ''} {numbers}")
    return mosaic
