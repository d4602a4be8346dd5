"""Flow: train one model on a simulation and write its package."""

from __future__ import annotations

from typing import Any

from surveycnn.flows.single import run_single
from surveycnn.flows.stages import survey_flow
from surveycnn.training.config import TrainConfig
from surveycnn.training.run import run_train


@survey_flow("train")
def train(config: TrainConfig, fresh: bool = False) -> Any:
    """Train one model on a simulation and write its package."""
    return run_single(run_train, config, fresh)
