"""Flow: measure a model on a simulation that it has not seen."""

from __future__ import annotations

from typing import Any

from surveycnn.flows.single import run_single
from surveycnn.flows.stages import survey_flow
from surveycnn.training.config import EvaluateConfig
from surveycnn.training.run import run_evaluate


@survey_flow("evaluate")
def evaluate(config: EvaluateConfig, fresh: bool = False) -> Any:
    """Measure a model on a simulation that it has not seen."""
    return run_single(run_evaluate, config, fresh)
