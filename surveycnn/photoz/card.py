"""The card of a photo-z model for tables: its bands and columns, how it was fitted, and how well it does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from surveycnn.errors import InputError, ModelError
from surveycnn.models.card import CARD_FILE, CardPart, Count, Digest, Metric, card_values, findings_text

TASK = "photoz_table"
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
Positive = Annotated[float, Field(gt=0)]


class FeatureScaling(CardPart):
    """How fluxes become features; see :func:`surveycnn.photoz.features.features_of`."""

    softening: dict[str, Positive]
    """nJy of each band: the median error of the fainter half of the training set, which also stands for unknown errors."""
    mean: list[float]
    scatter: list[Positive]
    """Of each feature in the training set."""


class FitSettings(CardPart):
    """How a network is fitted to a table."""

    seed: Annotated[int, Field(ge=0)] = 1
    members: Annotated[int, Field(ge=1, le=32)] = 8
    """Networks of the committee, whose mean PDF is the answer."""
    epochs: Annotated[int, Field(ge=1)] | None = None
    """Passes of the committee through the training set; None takes fewer for a larger table."""
    valid_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the table that is not trained on: it stops the fit, calibrates the widths and gives the metrics of the card."""


class TableCard(CardPart):
    """All that is known about a photo-z model for tables."""

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    task: Literal["photoz_table"] = "photoz_table"
    bands: Annotated[list[Annotated[str, Field(pattern=r"^\S+$", max_length=64)]], Field(min_length=1, max_length=100)]
    columns: dict[str, str] = {}
    """Column of the table for each of ``flux_<band>``, ``flux_err_<band>``, ``mag_<band>``, ``mag_err_<band>`` that is called
    otherwise."""
    redshift: tuple[float, float]
    """Smallest and largest redshift of the training set."""
    scaling: FeatureScaling
    redshift_scale: Positive
    """Redshift that a raw mean of 1 stands for: the scatter in the training set."""
    n_components: Annotated[int, Field(ge=1, le=100)]
    width: Positive = 1.0
    """Calibration: factor on the widths of the Gaussians."""
    settings: FitSettings
    n_train: Annotated[int, Field(ge=1)]
    n_valid: Annotated[int, Field(ge=1)]
    epochs: Count
    """Passes after which the committee was best on the validation rows."""
    metrics: dict[str, Metric] = {}
    """On the validation rows, which also stopped the fit: score rows of your own for an independent figure."""
    surveycnn: str
    keras: str
    sha256: dict[str, Digest] = {}

    @model_validator(mode="after")
    def _complete(self) -> TableCard:
        if len(set(self.bands)) != len(self.bands):
            raise ValueError(f"bands {self.bands} name a band twice")
        if set(self.scaling.softening) != set(self.bands):
            raise ValueError(f"scaling.softening has the bands {sorted(self.scaling.softening)}, expected {self.bands}")
        if not len(self.scaling.mean) == len(self.scaling.scatter) == self.n_features:
            raise ValueError(f"scaling has {len(self.scaling.mean)} means, expected one for each of {self.n_features} features")
        return self

    @property
    def n_features(self) -> int:
        """Inputs of the network: luptitude, error and absence of each band, and the colours between neighbours."""
        return 4 * len(self.bands) - 1


def check_name(name: str) -> None:
    """Raise InputError where a model cannot have this name."""
    if not re.fullmatch(NAME_PATTERN, name):
        raise InputError(f"the name is {name!r}, expected at most 64 letters, digits and -_. with a letter or digit first")


def read_table_card(folder: str | Path) -> TableCard:
    """Card of the photo-z model in `folder`.

    Raises
    ------
    ModelError
        Where the folder or its card is missing, is that of another kind of model, or cannot be used.
    """
    path = Path(folder) / CARD_FILE
    if not path.exists():
        raise ModelError(f"no photo-z model at {str(folder)!r}: {CARD_FILE} is missing; fit one with 'surveycnn photoz fit'")
    values = card_values(folder)
    if not isinstance(values, dict) or values.get("task") != TASK:
        found = values.get("task") if isinstance(values, dict) else type(values).__name__
        raise ModelError(f"{str(path)!r} is the card of {found!r}, expected {TASK!r}: a model of 'surveycnn photoz fit'")
    try:
        return TableCard.model_validate(values)
    except ValidationError as error:
        raise ModelError(f"{str(path)!r} cannot be used: {findings_text(error, TableCard)}") from error
