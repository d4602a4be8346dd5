"""The card of a model: what it takes, what it gives, what it was trained on and how well it does.

Read by the plan and the catalog without TensorFlow; a key that is not known here is refused.
"""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from surveycnn.catalogs.columns import domain_column, lens_columns, merger_columns, morphology_columns, photoz_columns
from surveycnn.errors import ModelError
from surveycnn.models.card_file import CARD_FILE as CARD_FILE
from surveycnn.models.card_file import card_values as card_values
from surveycnn.models.card_file import write_card as write_card
from surveycnn.models.card_parts import Band as Band
from surveycnn.models.card_parts import Calibration as Calibration
from surveycnn.models.card_parts import CardPart as CardPart
from surveycnn.models.card_parts import Cascade as Cascade
from surveycnn.models.card_parts import Count as Count
from surveycnn.models.card_parts import Digest as Digest
from surveycnn.models.card_parts import Domain as Domain
from surveycnn.models.card_parts import Metric as Metric
from surveycnn.models.card_parts import Outputs as Outputs
from surveycnn.models.card_parts import PhotometryScaling as PhotometryScaling
from surveycnn.models.card_parts import Positive as Positive
from surveycnn.models.card_parts import Prior as Prior
from surveycnn.models.card_parts import Reliability as Reliability
from surveycnn.models.card_parts import Scaling as Scaling
from surveycnn.models.card_parts import Task as Task
from surveycnn.models.card_parts import Training as Training
from surveycnn.schema import Schema


class Card(CardPart):
    """All that is known about a model package."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
    version: str
    task: Task
    bands: Annotated[list[Band], Field(min_length=1, max_length=100)]
    pixel_scale: Positive
    """arcsec per pixel."""
    stamp_px: Annotated[int, Field(ge=8, le=1024)]
    orientation: Literal["mosaic", "sky"] = "mosaic"
    """Of the stamps: rows and columns of the mosaic, or north up (towards higher rows) and east left."""
    flux_unit: Literal["nJy"] = "nJy"
    scaling: Scaling
    photometry: PhotometryScaling | None = None
    """Where the network takes measured fluxes and their errors beside the stamp."""
    extinction: dict[str, Positive] = {}
    """A / E(B-V) of each band, by which stamps and fluxes are freed from the dust of the Milky Way where E(B-V) is given."""
    outputs: Outputs = Outputs()
    prior: Prior | None = None
    calibration: Calibration | None = None
    domain: Domain | None = None
    cascade: Cascade | None = None
    training: Training
    metrics: dict[str, Metric] = {}
    reliability: Reliability | None = None
    """Lenses and mergers: the score against the fraction of positives."""
    n_weights: Count = 0
    flops: Count = 0
    """Floating point operations of a forward pass for one stamp, a multiplication and an addition each counting one."""
    activation_bytes: Count = 0
    """Bytes of all layers' outputs for one stamp: an upper bound of what a forward pass keeps per stamp."""
    licence: str
    keras: str
    """Version that wrote ``model.keras``."""
    sha256: dict[str, Digest] = {}
    notes: str = ""

    @model_validator(mode="after")
    def _complete(self) -> Card:
        if len(set(self.bands)) != len(self.bands):
            raise ValueError(f"bands {self.bands} name a band twice")
        if set(self.scaling.softening) != set(self.bands):
            raise ValueError(f"scaling.softening has the bands {sorted(self.scaling.softening)}, expected {self.bands}")
        if self.photometry is not None and set(self.photometry.softening) != set(self.bands):
            raise ValueError(f"photometry.softening has the bands {sorted(self.photometry.softening)}, expected {self.bands}")
        if self.extinction and set(self.extinction) != set(self.bands):
            raise ValueError(f"extinction has the bands {sorted(self.extinction)}, expected {self.bands} or none")
        if self.cascade is not None and self.task != "lens":
            raise ValueError(f"cascade is for lens models alone, not for a {self.task} model: leave it out")
        missing = [key for key in _NEEDED[self.task] if _lookup(self, key) is None]
        if missing:
            raise ValueError(f"a {self.task} model needs {', '.join(missing)}")
        return self

    @cached_property
    def digest(self) -> str:
        """sha256, hexadecimal, of all that a result depends on: the weights, and the card but for what it tells of its making."""
        told = {"metrics", "reliability", "notes", "training", "licence", "keras", "flops", "activation_bytes"}
        told |= set() if self.has_cascade else {"cascade"}
        text = json.dumps(self.model_dump(mode="json", exclude=told), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def n_outputs(self) -> int:
        """Numbers that the network gives per stamp.

        Lens: the logit. Merger: logit, scaled time, log variance of the scaled time. Morphology: one per answer. Photo-z: weights
        (as logits), means and widths of the Gaussians. The last one is the squared distance from the training set where the
        domain has a limit for it.
        """
        n_answers = sum(map(len, self.questions.values()))
        n = {"lens": 1, "merger": 3, "photoz": 3 * self.n_components, "morphology": n_answers}[self.task]
        return n + self.has_distance

    @property
    def has_distance(self) -> bool:
        """Whether the network also says how far a stamp is from its training set."""
        return self.domain is not None and self.domain.feature_distance is not None

    @property
    def has_cascade(self) -> bool:
        """Whether a first stage stands before the network."""
        return self.cascade is not None and self.cascade.enabled

    @property
    def questions(self) -> dict[str, list[str]]:
        """Answers of each question; empty but for morphology."""
        return self.outputs.questions or {}

    @property
    def n_components(self) -> int:
        """Gaussians of the mixture; 0 but for photo-z."""
        return self.outputs.n_components or 0

    @property
    def time_scaling(self) -> tuple[float, float]:
        """Myr that a time output of 0 stands for, and Myr per unit; (0, 1) but for mergers."""
        return self.outputs.time_mean or 0.0, self.outputs.time_scale or 1.0

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(y, x, band) of one stamp."""
        return (self.stamp_px, self.stamp_px, len(self.bands))

    @property
    def input_shapes(self) -> list[tuple[int, ...]]:
        """Shapes of all inputs of the network: that of the stamp, and (2 * band,) where it takes measured fluxes too."""
        return [self.input_shape] + ([(2 * len(self.bands),)] if self.photometry else [])

    @property
    def schema(self) -> Schema:  # type: ignore[override]  # over a deprecated method of pydantic
        """Columns that the model gives."""
        columns = {
            "lens": lambda: lens_columns(self.has_cascade),
            "merger": merger_columns,
            "morphology": lambda: morphology_columns(self.questions),
            "photoz": lambda: photoz_columns(self.n_components),
        }[self.task]()
        return Schema([*columns, domain_column(self.task)] if self.has_distance else columns)


_NEEDED: dict[str, tuple[str, ...]] = {
    "lens": ("prior", "calibration"),
    "merger": ("prior", "calibration", "outputs.time_mean", "outputs.time_scale"),
    "morphology": ("outputs.questions",),
    "photoz": ("outputs.n_components",),
}


def _lookup(card: Card, key: str) -> Any:
    value: Any = card
    for part in key.split("."):
        value = getattr(value, part)
    return value


def read_card(folder: str | Path) -> Card:
    """Card of the model package in `folder`.

    Raises
    ------
    ModelError
        Where the folder or its card is missing, not YAML, or has a key or value that cannot be used.
    """
    try:
        return Card.model_validate(card_values(folder))
    except ValidationError as error:
        raise ModelError(f"{str(Path(folder) / CARD_FILE)!r} cannot be used: {findings_text(error, Card)}") from error


def findings_text(error: ValidationError, card: type[CardPart]) -> str:
    """The findings of pydantic on one line, with the allowed keys of the class `card` where one is unknown."""
    texts = []
    for finding in error.errors():
        where = ".".join(map(str, finding["loc"])) or "card"
        text = "unknown key" if finding["type"] == "extra_forbidden" else finding["msg"].removeprefix("Value error, ")
        texts.append(f"{where}: {text}")
    if any(finding["type"] == "extra_forbidden" and len(finding["loc"]) == 1 for finding in error.errors()):
        texts.append(f"allowed keys are {', '.join(card.model_fields)}")
    return "; ".join(texts)
