"""Configuration of the flow ``train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from surveycnn.sections import Strict
from surveycnn.training.plan import Plan

Task = Literal["lens", "morphology", "merger", "photoz"]


class LabelFile(Strict):
    """A table of labels: what is in which column."""

    path: str
    """CSV, Parquet, FITS, ECSV, HDF5 or VOTable."""
    label: str = "label"
    """Column with 1, 0, or nothing where an object is not used."""
    ra: str | None = None
    """Columns of positions; found by their names where none are given."""
    dec: str | None = None


_SIMULATED_ONLY = (
    *("n_valid", "n_test", "widths", "members", "views", "mosaics", "n_disks", "n_hard", "selected", "first_stage_of"),
    "precision",
)
_LABELS_ONLY = ("catalog", "start_from", "layers", "match_arcsec", "survey_prior")


class TrainConfig(Strict):
    """What is trained, on how much; the command in the card of a shipped model repeats that one."""

    task: Task
    labels: list[LabelFile] = []
    """Tables of labels of the user's, on which a model is trained further; without any, it is trained on a simulation."""
    catalog: list[str] = []
    """Catalogs from whose pixels the stamps of the labels are cut."""
    start_from: str | None = None
    """Model that is trained further: a shipped one, or the path of a package; None takes the shipped one of the task."""
    layers: Literal["auto", "head", "all"] = "auto"
    """Layers that learn from the labels: the last one, all, or all where there are many labels."""
    match_arcsec: float = Field(default=1.0, gt=0, le=60)
    """Radius within which a label belongs to a source."""
    survey_prior: float | None = Field(default=None, gt=0, lt=1)
    """Share of positives that the probabilities assume; None takes that of the model that is trained further."""
    output: str = ""
    """Folder of the model package; empty means runs/models/<task>."""
    work_dir: str = "runs/train"
    """Keeps the simulated stamps and the state of an unfinished fit."""
    n_train: int = Field(default=8_000, ge=0)
    """Simulated stamps to train on; beside labels none by default, and so many as keep what the simulation has taught."""
    n_valid: int = Field(default=1_500, ge=16)
    n_test: int = Field(default=2_500, ge=16)
    seed: int = Field(default=1, ge=0)
    epochs: int = Field(default=14, ge=0)
    """0 trains nothing, and calibrates on the labels alone."""
    batch_size: int = Field(default=128, ge=1)
    conditions: str = "wide"
    widths: list[Annotated[int, Field(ge=1)]] | None = None
    """Channels of the network's stages; None takes those of the shipped model."""
    members: int | None = Field(default=None, ge=1, le=8)
    """Networks whose outputs are averaged."""
    views: int | None = Field(default=None, ge=1, le=8)
    """Symmetries of the square over which the outputs are averaged."""
    mosaics: int | None = Field(default=None, ge=0)
    """Simulated mosaics whose highest-scoring objects become further negatives; lenses and mergers only."""
    n_disks: int | None = Field(default=None, ge=16)
    """Face-on disks with many votes that join the training set in a second fit; morphology only."""
    n_hard: int | None = Field(default=None, ge=16)
    """Stamps of the hard held-out sets; lenses only."""
    selected: bool | None = None
    """Also train on what a spectroscopic survey would have selected, to see what that does to the metrics; photo-z only."""
    patience: int | None = Field(default=None, ge=1)
    """Epochs without a better validation loss after which a fit stops; None fits all of them."""
    precision: Literal["float32", "bfloat16"] | None = None
    """bfloat16 trains faster on CPUs and GPUs that compute in it; the package computes in float32."""
    first_stage_of: str | None = None
    """Lens model, shipped or the path of a package, that is given the first stage of a cascade instead of being trained."""
    n_workers: int = Field(default=2, ge=1)
    """Processes that simulate."""

    @field_validator("labels", "catalog", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any, info: Any) -> Any:
        """A single path is a list of one, and a path alone a table with the usual columns."""
        items = value if isinstance(value, list | tuple) else [] if value is None else [value]
        return [{"path": item} if isinstance(item, str) and info.field_name == "labels" else item for item in items]

    @model_validator(mode="after")
    def _fits_together(self) -> TrainConfig:
        given = self.model_fields_set
        if not self.labels:
            needless = [key for key in _LABELS_ONLY if key in given]
            if needless:
                raise ValueError(f"{needless[0]} is for a training on labels: name their file with labels, or leave it out")
            for key, least in (("n_train", 16), ("epochs", 1)):
                if getattr(self, key) < least:
                    raise ValueError(f"{key} is {getattr(self, key)}, expected at least {least} in a training on a simulation")
            return self
        needless = [key for key in _SIMULATED_ONLY if key in given]
        if needless:
            raise ValueError(f"{needless[0]} is for a training on a simulation alone, not on labels: leave it out")
        if not self.catalog:
            raise ValueError("labels are given without the catalog from whose pixels their stamps are cut: name it with catalog")
        return self

    @property
    def n_simulated(self) -> int:
        """Simulated stamps beside labels."""
        return self.n_train if "n_train" in self.model_fields_set else 0

    @property
    def plan(self) -> Plan:
        """What the training does, without where it does it."""
        values = self.model_dump(exclude={"output", "work_dir", "n_workers", "widths", "labels", *_LABELS_ONLY})
        return Plan(**values, widths=None if self.widths is None else tuple(self.widths))

    @property
    def output_path(self) -> Path:
        return Path(self.output or Path("runs") / "models" / self.task)
