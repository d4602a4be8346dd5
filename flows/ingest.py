"""Flow that brings mosaics into the chunk store and stops there."""

from __future__ import annotations

from typing import Any

from surveycnn.config import SurveyConfig
from surveycnn.flows.stages import in_session, submit_stage, survey_flow
from surveycnn.flows.survey import ingest_table
from surveycnn.run.session import Session, ingest_mosaic


@survey_flow("ingest")
def ingest(config: SurveyConfig, fresh: bool = False, update: bool = False) -> list[dict[str, Any]] | Any:
    """Bring the mosaics of `config` into the chunk store; returns the records of all bands."""
    return in_session(config, fresh, update, ingest_all)


def ingest_all(session: Session) -> list[dict[str, Any]]:
    """Records of all bands of all mosaics."""
    session.prepare(tiles=False)
    futures = [submit_stage("ingest", session, ingest_mosaic, mosaic) for mosaic in session.plan.mosaics]
    results = [future.result() for future in futures]
    ingest_table(session, results)
    return [record for records in results for record in records]
