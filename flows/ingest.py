"""Flow that brings mosaics into the chunk store and stops there."""

from __future__ import annotations

from typing import Any

from surveycnn.config import SurveyConfig
from surveycnn.errors import UserError
from surveycnn.flows.stages import ArtifactProgress, failed, submit_stage, survey_flow
from surveycnn.flows.survey import ingest_table
from surveycnn.run.progress import open_progress
from surveycnn.run.session import ingest_mosaic, open_session


@survey_flow("ingest")
def ingest(config: SurveyConfig, fresh: bool = False) -> list[dict[str, Any]] | Any:
    """Bring the mosaics of `config` into the chunk store; returns the records of all bands."""
    try:
        with open_progress() as shown, open_session(config, fresh=fresh, progress=ArtifactProgress(shown)) as session:
            mosaics = session.plan.mosaics
            futures = [submit_stage("ingest", session, ingest_mosaic, mosaic) for mosaic in mosaics]
            results = [future.result() for future in futures]
            ingest_table(mosaics, results)
            return [record for records in results for record in records]
    except UserError as error:
        return failed(error)
