"""Training as the flow and the command line call it: a configuration in, a result with a summary out."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from surveycnn.models.card import Metric
from surveycnn.training.config import TrainConfig
from surveycnn.training.first_stage import train_first_stage
from surveycnn.training.fit import train


class Messages(Protocol):
    """What is told about a long call while it runs."""

    def message(self, text: str) -> None: ...


@dataclass(frozen=True)
class Measured:
    """Metrics of a model, and where its package lies."""

    model: str
    metrics: dict[str, Metric]

    def summary(self) -> str:
        """One line per metric."""
        lines = [f"model {self.model}"]
        for name, metric in self.metrics.items():
            interval = f" [{metric.interval[0]:.4g}, {metric.interval[1]:.4g}]" if metric.interval else ""
            lines.append(f"  {name} = {metric.value:.4g}{interval} (n = {metric.n}): {metric.definition}")
        return "\n".join(lines)


def run_train(config: TrainConfig, *, fresh: bool = False, progress: Messages | None = None) -> Measured:
    """Simulate, train, calibrate, measure and write a model package; an interrupted training goes on.

    Parameters
    ----------
    fresh
        Simulate and fit from nothing.
    """
    if fresh:
        forget(Path(config.work_dir), ("stamps/*-seed*-n*", f"fit-{config.task}-*", "fit-first-stage-*"))
    card = (train if config.first_stage_of is None else train_first_stage)(
        config.plan,
        config.output_path,
        work_dir=Path(config.work_dir),
        n_workers=config.n_workers,
        log=progress.message if progress else print,
    )
    return Measured(str(config.output_path), card.metrics)


def forget(folder: Path, patterns: tuple[str, ...]) -> None:
    """Remove what earlier calls have kept in `folder`, and nothing else."""
    for pattern in patterns:
        for path in folder.glob(pattern):
            shutil.rmtree(path, ignore_errors=True)
