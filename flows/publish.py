"""Flow that publishes the catalog of the tiles that have run."""

from __future__ import annotations

from typing import Any

from surveycnn.config import SurveyConfig
from surveycnn.errors import UserError
from surveycnn.flows import survey
from surveycnn.flows.stages import ArtifactProgress, failed, survey_flow
from surveycnn.run.progress import open_progress
from surveycnn.run.publish import SurveyResult
from surveycnn.run.session import open_session


@survey_flow("publish")
def publish(config: SurveyConfig, fresh: bool = False) -> SurveyResult | Any:
    """Publish what the finished tiles of `config` hold."""
    try:
        with open_progress() as shown, open_session(config, fresh=fresh, progress=ArtifactProgress(shown)) as session:
            return survey.publish(session)
    except UserError as error:
        return failed(error)
