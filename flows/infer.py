"""Flow that runs the tiles of ingested mosaics and stops there."""

from __future__ import annotations

from collections import Counter
from typing import Any

from surveycnn.config import SurveyConfig
from surveycnn.flows.stages import in_session, submit_stage, survey_flow
from surveycnn.flows.survey import infer_table
from surveycnn.run.session import Session, infer_mosaic, settle_lost


@survey_flow("infer")
def infer(config: SurveyConfig, fresh: bool = False, update: bool = False) -> dict[str, int] | Any:
    """Run the tiles of the ingested mosaics of `config`; returns how many ended in which state."""
    return in_session(config, fresh, update, infer_all)


def infer_all(session: Session) -> dict[str, int]:
    """Tiles by the state in which they ended."""
    session.prepare()
    futures = [submit_stage("infer", session, infer_mosaic, mosaic) for mosaic in session.plan.mosaics]
    results = [future.result() for future in futures]
    infer_table(session, results)
    states: Counter[str] = sum(results, start=Counter())
    del states["lost"]
    return dict(states + settle_lost(session))
