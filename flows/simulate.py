"""Flow: simulate a mosaic with its truth."""

from __future__ import annotations

from typing import Any

from surveycnn.flows.single import run_single
from surveycnn.flows.stages import survey_flow
from surveycnn.run.simulate import SimulateConfig, run_simulate


@survey_flow("simulate")
def simulate(config: SimulateConfig, fresh: bool = False) -> Any:
    """Simulate a mosaic with its truth."""
    return run_single(run_simulate, config, fresh)
