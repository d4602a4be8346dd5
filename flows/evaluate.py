"""Flow: measure models, and methods of the literature beside them, on simulations that none of them has seen."""

from __future__ import annotations

from typing import Any

from surveycnn.evaluation.config import EvaluateConfig
from surveycnn.evaluation.run import run_evaluate
from surveycnn.flows.single import run_single
from surveycnn.flows.stages import survey_flow


@survey_flow("evaluate")
def evaluate(config: EvaluateConfig, fresh: bool = False) -> Any:
    """Measure models, and methods of the literature beside them, on simulations that none of them has seen."""
    return run_single(run_evaluate, config, fresh)
