"""Configuration of the flow ``challenge``."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator

from surveycnn.sections import Strict


class ChallengeConfig(Strict):
    """Which finders meet, on which stamps; the defaults give about 50,500 negatives, one lens to ten of them."""

    model: str = "lens"
    """Name of a shipped lens model or path of a package."""
    output: str = "runs/challenge"
    """Folder of the tables and pictures."""
    work_dir: str = ""
    """Keeps stamps, trained methods and scores; empty means <output>/work."""
    n_challenge: int = Field(default=55_600, ge=16)
    """Stamps of the challenge, 1 in 11 a lens."""
    n_hard: int = Field(default=8_000, ge=16)
    """Stamps of the hard set: lenses, and their own light without lensing."""
    n_population: int = Field(default=4_000, ge=16)
    """Lenses of the whole population, detectable or not, on which the completeness is measured."""
    n_train: int = Field(default=20_000, ge=16)
    n_valid: int = Field(default=2_000, ge=16)
    """Stamps that the methods of the literature are trained on and calibrated on."""
    zoo_epochs: int | None = Field(default=None, ge=1)
    """Passes of their networks through the training set; null takes one or two, for two CPU cores: give more on a GPU."""
    seed: int = Field(default=3_000, ge=0)
    """First of the seeds, of which none may be one that the model was trained on."""
    conditions: str = "wide"
    shifted: bool = True
    """Also on stamps of a worse survey, which nobody was trained on."""
    methods: list[str] | None = None
    """Methods that compete with the model; null means all that there are."""
    n_workers: int = Field(default=2, ge=1)
    """Processes that simulate."""

    @field_validator("methods")
    @classmethod
    def _known(cls, names: list[str] | None) -> list[str] | None:
        from surveycnn.challenge.zoo import METHODS

        unknown = [name for name in names or [] if name not in METHODS]
        if unknown:
            raise ValueError(f"unknown method {unknown[0]!r}: known are {', '.join(METHODS)}")
        if len(set(names or [])) != len(names or []):
            raise ValueError(f"a method is named twice in {names}")
        return names

    @property
    def output_path(self) -> Path:
        return Path(self.output)

    @property
    def work_path(self) -> Path:
        return Path(self.work_dir) if self.work_dir else self.output_path / "work"
