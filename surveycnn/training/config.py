"""Configuration of the flow ``train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from surveycnn.sections import Strict
from surveycnn.training.plan import Plan

Task = Literal["lens", "morphology", "merger", "photoz"]


class TrainConfig(Strict):
    """What is trained, on how much; the command in the card of a shipped model repeats that one."""

    task: Task
    output: str = ""
    """Folder of the model package; empty means runs/models/<task>."""
    work_dir: str = "runs/train"
    """Keeps the simulated stamps and the state of an unfinished fit."""
    n_train: int = Field(default=8_000, ge=16)
    n_valid: int = Field(default=1_500, ge=16)
    n_test: int = Field(default=2_500, ge=16)
    seed: int = Field(default=1, ge=0)
    epochs: int = Field(default=14, ge=1)
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

    @property
    def plan(self) -> Plan:
        """What the training does, without where it does it."""
        values = self.model_dump(exclude={"output", "work_dir", "n_workers", "widths"})
        return Plan(**values, widths=None if self.widths is None else tuple(self.widths))

    @property
    def output_path(self) -> Path:
        return Path(self.output or Path("runs") / "models" / self.task)
