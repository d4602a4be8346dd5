"""Flow: our lens finder beside the methods of the literature, on one simulated challenge."""

from __future__ import annotations

from typing import Any

from surveycnn.challenge.config import ChallengeConfig
from surveycnn.challenge.run import run_challenge
from surveycnn.flows.single import run_single
from surveycnn.flows.stages import survey_flow


@survey_flow("challenge")
def challenge(config: ChallengeConfig, fresh: bool = False) -> Any:
    """Measure our lens finder and the methods of the literature on the same simulated stamps."""
    return run_single(run_challenge, config, fresh)
