"""Flow that publishes the catalog of the tiles that have run."""

from __future__ import annotations

from typing import Any

from surveycnn.config import SurveyConfig
from surveycnn.flows import survey
from surveycnn.flows.stages import in_session, survey_flow
from surveycnn.run.publish import SurveyResult


@survey_flow("publish")
def publish(config: SurveyConfig, fresh: bool = False, update: bool = False) -> SurveyResult | Any:
    """Publish what the finished tiles of `config` hold."""
    return in_session(config, fresh, update, survey.publish)
