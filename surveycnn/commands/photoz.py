"""``surveycnn photoz``: fit a photo-z model to a table with redshifts, and predict the redshifts of another table."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import ValidationError

from surveycnn.catalogs.columns import photoz_columns
from surveycnn.errors import InputError, ModelError, printable
from surveycnn.models.card import findings_text
from surveycnn.paths import split_path
from surveycnn.photoz.card import FitSettings, TableCard, check_name, read_table_card
from surveycnn.photoz.tables import (
    check_bands,
    check_output,
    mapped_columns,
    photometry_of,
    read_table,
    redshifts_of,
    write_table,
)
from surveycnn.tables.arrays import to_arrow

KINDS = ("flux", "flux_err", "mag", "mag_err")
"""Columns of a band, and options that name them for all bands."""


def fit(arguments: argparse.Namespace) -> int:
    """Fit a model and write its package; prints how well it does on the rows that it was not trained on."""
    folder = _check_model_folder(Path(arguments.output))
    settings = _settings(arguments)
    bands = [band.strip() for band in arguments.bands.split(",")]
    check_bands(bands)
    columns = _mapped_columns(bands, arguments)
    table = read_table(arguments.table)
    if not table.num_rows:
        raise InputError(f"the table {arguments.table!r} has no rows: nothing can be fitted to it")
    photometry = photometry_of(table, bands, columns)
    redshift = redshifts_of(table, arguments.redshift)
    from surveycnn.photoz.fit import fit_photoz

    try:
        card = fit_photoz(photometry, redshift, folder, settings=settings, columns=columns, log=_log, **_given(arguments, "name"))
    except OSError as error:
        raise InputError(f"cannot write the model to {str(folder)!r} ({error.strerror or error}): give another folder") from error
    print(printable(_summary(card, folder)))
    return 0


def predict(arguments: argparse.Namespace) -> int:
    """Write the rows of a table with their redshifts."""
    from surveycnn.photoz.predict import load_photoz

    path = check_output(arguments.output)
    _check_other_file(arguments.table, path)
    model = load_photoz(arguments.model)
    table = read_table(arguments.table)
    columns = _mapped_columns(model.card.bands, arguments) or _fitted_columns(model.card, table)
    photometry = photometry_of(table, model.card.bands, columns)
    _check_free(table, model.card)
    redshifts = model.predict(photometry)
    write_table(_with_redshifts(table, redshifts, model.card), path)
    n_without = int(np.isnan(redshifts["z_phot"]).sum())
    print(f"{table.num_rows} rows written to {path}, {n_without} of them without a prediction")
    return 0


def _given(arguments: argparse.Namespace, *options: str) -> dict[str, Any]:
    """The options that were given; what the others stand for is known to what they are passed to."""
    return {option: getattr(arguments, option) for option in options if getattr(arguments, option) is not None}


def _settings(arguments: argparse.Namespace) -> FitSettings:
    if arguments.name is not None:
        check_name(arguments.name)
    try:
        return FitSettings(**_given(arguments, "seed", "members", "epochs"))
    except ValidationError as error:
        raise InputError(f"cannot fit with these options: {findings_text(error, FitSettings)}") from error


def _log(text: str) -> None:
    print(printable(text), file=sys.stderr, flush=True)


def _mapped_columns(bands: list[str], arguments: argparse.Namespace) -> dict[str, str]:
    """Columns as the options map them; empty without any."""
    return mapped_columns(bands, {kind: getattr(arguments, kind) for kind in KINDS}, arguments.column)


def _fitted_columns(card: TableCard, table: pa.Table) -> dict[str, str]:
    """Columns of the table that the model was fitted to; none where another table has none of them."""
    return card.columns if set(card.columns.values()) & set(table.column_names) else {}


def _check_model_folder(folder: Path) -> Path:
    """The folder without links, where it is free or holds a model of ours; an InputError says what else is there."""
    folder = Path(os.path.realpath(folder))
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise InputError(f"cannot write a model to {str(folder)!r}: it is a file, expected a folder")
    if os.path.isdir(folder) and os.listdir(folder):
        try:
            read_table_card(folder)
        except ModelError as error:
            raise InputError(f"the folder {str(folder)!r} holds other things: give a new one ({error})") from error
    parent = next(parent for parent in folder.parents if os.path.exists(parent))
    try:
        with tempfile.TemporaryDirectory(dir=parent):
            return folder
    except OSError as error:
        raise InputError(f"cannot write a model to {str(folder)!r} ({error.strerror or error}): give another place") from error


def _check_other_file(table: str, output: Path) -> None:
    file, _ = split_path(table)
    if os.path.exists(output) and os.path.exists(file) and os.path.samefile(file, output):
        raise InputError(f"the output {str(output)!r} is the table itself: give another file")


def _check_free(table: pa.Table, card: TableCard) -> None:
    """Raise an InputError where the table has columns by the names of the predictions, in any letters: FITS knows no other."""
    names = {column.name for column in photoz_columns(card.n_components)}
    taken = [name for name in table.column_names if name.lower() in names]
    if taken:
        raise InputError(f"the table already has the columns {', '.join(taken)}: rename or drop them")


def _with_redshifts(table: pa.Table, redshifts: Mapping[str, np.ndarray], card: TableCard) -> pa.Table:
    """The table with the columns of the predictions at its end."""
    for column in photoz_columns(card.n_components):
        values = to_arrow(redshifts[column.name])
        metadata = {"description": column.doc, "ucd": column.ucd}
        table = table.append_column(pa.field(column.name, values.type, metadata=metadata), values)
    return table


def _summary(card: TableCard, folder: Path) -> str:
    """What was fitted, and its metrics with their intervals."""
    lines = [f"{folder}: {card.name}, bands {' '.join(card.bands)}, {card.n_train} rows to train on, {card.n_valid} to validate"]
    for name, metric in card.metrics.items():
        interval = f" [{metric.interval[0]:.4g}, {metric.interval[1]:.4g}]" if metric.interval else ""
        lines.append(f"  {name} = {metric.value:.4g}{interval} (n = {metric.n}): {metric.definition}")
    return "\n".join(lines)
