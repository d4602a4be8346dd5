"""Flow: train one model on a simulation, or on labels, and write its package."""

from __future__ import annotations

from typing import Any

from surveycnn.flows.single import run_single
from surveycnn.flows.stages import survey_flow
from surveycnn.labels.run import run_training
from surveycnn.training.config import TrainConfig


@survey_flow("train")
def train(config: TrainConfig, fresh: bool = False) -> Any:
    """Train one model on a simulation, or further on labels, and write its package."""
    return run_single(run_training, config, fresh)
