"""Configuration of the flow ``evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from surveycnn.sections import Strict


class EvaluateConfig(Strict):
    """Which models are measured on which simulation; the defaults take other seeds than any training."""

    model: str | list[str] = ["lens", "morphology", "merger", "photoz"]
    """Names of shipped models or paths of packages."""
    output: str = "runs/evaluate"
    """Folder of the tables and pictures."""
    work_dir: str = ""
    """Keeps stamps, trained methods and predictions; empty means <output>/work."""
    n: int = Field(default=4_000, ge=16)
    """Stamps of a test set."""
    seed: int = Field(default=1_000, ge=0)
    """Of the test set; the seed of the shifted set is 3 more."""
    conditions: str = "wide"
    mix: str = "train"
    """Kinds of objects: train, and others that the simulation of a task may have."""
    shifted: bool = True
    """Also on half as many stamps of a worse survey, which nobody was trained on."""
    methods: list[str] | None = []
    """Methods of the literature that are trained and measured beside the models; null means all for the models' tasks."""
    train_seed: int | None = Field(default=None, ge=0)
    """Of the set that the methods are trained on, the next one that of their validation; null takes `seed` + 1. With the seed of
    a model's card they learn from the head of its training set."""
    n_train: int = Field(default=20_000, ge=16)
    n_valid: int = Field(default=2_000, ge=16)
    """Stamps that the methods are trained on and stopped on."""
    passes: int | None = Field(default=None, ge=1)
    """Passes of their networks through the training set; null takes those of each method."""
    engine: Literal["auto", "tensorflow", "jax", "torch", "openvino"] = "auto"
    n_workers: int = Field(default=2, ge=1)
    """Processes that simulate."""

    @field_validator("model")
    @classmethod
    def _some_once(cls, given: str | list[str]) -> str | list[str]:
        if not given:
            raise ValueError("no model is named: give the name of a shipped model or the path of a package")
        if isinstance(given, list) and len(set(given)) != len(given):
            raise ValueError(f"a model is named twice in {given}")
        return given

    @field_validator("methods")
    @classmethod
    def _known(cls, names: list[str] | None) -> list[str] | None:
        if not names:
            return names
        from surveycnn.evaluation.methods import METHODS

        unknown = [name for name in names if name not in METHODS]
        if unknown:
            raise ValueError(f"unknown method {unknown[0]!r}: known are {', '.join(METHODS)}")
        if len(set(names)) != len(names):
            raise ValueError(f"a method is named twice in {names}")
        return names

    @property
    def models(self) -> list[str]:
        return [self.model] if isinstance(self.model, str) else list(self.model)

    @property
    def output_path(self) -> Path:
        return Path(self.output)

    @property
    def work_path(self) -> Path:
        return Path(self.work_dir) if self.work_dir else self.output_path / "work"
