"""The main flow: mosaics in, catalog out."""

from __future__ import annotations

from typing import Any

from surveycnn.config import SurveyConfig
from surveycnn.flows.artifacts import post_summary, post_table
from surveycnn.flows.stages import ended_with, in_session, submit_stage, survey_flow
from surveycnn.flows.summary import summary_markdown
from surveycnn.run.accounting import performance_line
from surveycnn.run.publish import SurveyResult, publish_survey
from surveycnn.run.session import Session, infer_mosaic, ingest_mosaic, settle_lost
from surveycnn.run.status import STATES
from surveycnn.run.summary import places


@survey_flow("survey")
def survey(config: SurveyConfig, fresh: bool = False, update: bool = False) -> SurveyResult | Any:
    """Ingest and infer every mosaic of `config`, then publish the catalog; run again, it goes on where it stopped."""
    return in_session(config, fresh, update, run_stages)


def run_stages(session: Session) -> Any:
    """All stages; a mosaic is inferred as soon as it is ingested."""
    session.prepare()
    mosaics = session.plan.mosaics
    ingested = [submit_stage("ingest", session, ingest_mosaic, mosaic) for mosaic in mosaics]
    inferred = [
        submit_stage("infer", session, infer_mosaic, mosaic, after=[future])
        for mosaic, future in zip(mosaics, ingested, strict=True)
    ]
    ingest_table(session, [future.result() for future in ingested])
    infer_table(session, [future.result() for future in inferred])
    settle_lost(session)
    return publish(session)


def ingest_table(session: Session, results: list[list[dict[str, Any]]]) -> None:
    """Post what was read, band by band."""
    shown = ("band", "path", "zeropoint", "n_bad", "sky", "rms", "seconds")
    rows = [
        {"mosaic": mosaic.id} | {key: record[key] for key in shown}
        for mosaic, records in zip(session.plan.mosaics, results, strict=True)
        for record in records
    ]
    post_table(session.plan.config.name, "ingest", rows)


def infer_table(session: Session, results: list[dict[str, int]]) -> None:
    """Post how many tiles ended in which state, mosaic by mosaic."""
    rows = [{"mosaic": mosaic.id} | dict(states) for mosaic, states in zip(session.plan.mosaics, results, strict=True)]
    post_table(session.plan.config.name, "infer", rows)


def publish(session: Session) -> Any:
    """Publish the catalog and post its table and the summary; gives the state in which the flow ends."""
    result = publish_survey(session)
    name, tiles = session.plan.config.name, result.status.tiles
    row = {"sources": result.n_sources, "primary": result.n_primary} | {state: tiles[state] for state in STATES}
    post_table(
        name,
        "publish",
        [
            row
            | {what: str(path.absolute()) for what, path in places(result).items()}
            | {"performance": performance_line(result.performance)}
        ],
    )
    post_summary(name, summary_markdown(name, result))
    return ended_with(result)
