"""What a training does, as its command line says it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from surveycnn.errors import ConfigError
from surveycnn.models.card import Task

TASKS = ("lens", "morphology", "merger", "photoz")
_LIMITED = (
    ("mosaics", ("lens", "merger")),
    ("n_hard", ("lens",)),
    ("n_disks", ("morphology",)),
    ("selected", ("photoz",)),
    ("first_stage_of", ("lens",)),
)
"""Settings that some tasks alone take."""
_OF_NETWORK = ("members", "views")
"""Settings of a network that is trained."""


@dataclass(frozen=True)
class Plan:
    """What a training does; the command in the card repeats it. What is None is left to the defaults of the task."""

    task: Task
    n_train: int
    n_valid: int
    n_test: int
    seed: int
    epochs: int
    batch_size: int
    conditions: str
    widths: tuple[int, ...] | None = None
    """Channels of the network's stages."""
    members: int | None = None
    """Networks whose outputs are averaged."""
    views: int | None = None
    """Symmetries of the square over which the outputs are averaged, up to 8."""
    mosaics: int | None = None
    """Simulated mosaics whose highest-scoring objects become further negatives; lenses and mergers only."""
    n_disks: int | None = None
    """Face-on disks with many votes that join the training set in a second fit; morphology only."""
    n_hard: int | None = None
    """Stamps of the hard held-out sets; lenses only."""
    selected: bool | None = None
    """Also train on the galaxies alone whose redshifts a spectroscopic survey would have measured, to see what that does to the
    metrics; photo-z only."""
    patience: int | None = None
    """Epochs without a better validation loss after which a fit stops; its best epoch counts."""
    precision: Literal["float32", "bfloat16"] | None = None
    """Arithmetic of the training; what is saved computes in float32."""
    first_stage_of: str | None = None
    """Lens model, shipped or the path of a package, that is given the first stage of a cascade; its network is not trained."""

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ConfigError(f"task {self.task!r} is not known: expected {', '.join(TASKS)}")
        for key in ("n_train", "n_valid", "n_test", "epochs", "batch_size", "members", "views", "n_disks", "n_hard", "patience"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise ConfigError(f"{key} is {value!r}, expected a whole number from 1")
        for key, tasks in _LIMITED:
            if getattr(self, key) is not None and self.task not in tasks:
                known = " and ".join(f"'{task}'" for task in tasks)
                raise ConfigError(f"{key} can be set for {known} alone, not for {self.task!r}: leave it out")
        for key in _OF_NETWORK if self.first_stage_of is not None else ():
            if getattr(self, key) is not None:
                raise ConfigError(f"{key} is set beside first_stage_of, which trains no network of that kind: leave it out")

    @property
    def command(self) -> str:
        values = {key: value for key, value in vars(self).items() if value is not None}
        settings = [f"--set {key}={list(value) if isinstance(value, tuple) else value}" for key, value in values.items()]
        return " ".join(["surveycnn run-flow train", *(setting.replace(", ", ",") for setting in settings)])
