"""The main flow: mosaics in, catalog out."""

from __future__ import annotations

from typing import Any

from surveycnn.config import SurveyConfig
from surveycnn.flows.stages import in_session, stage_table, submit_stage, survey_flow
from surveycnn.run.accounting import performance_line
from surveycnn.run.plan import MosaicPlan
from surveycnn.run.publish import SurveyResult, publish_survey
from surveycnn.run.session import Session, infer_mosaic, ingest_mosaic, settle_lost


@survey_flow("survey")
def survey(config: SurveyConfig, fresh: bool = False, update: bool = False) -> SurveyResult | Any:
    """Ingest and infer every mosaic of `config`, then publish the catalog; run again, it goes on where it stopped."""
    return in_session(config, fresh, update, run_stages)


def run_stages(session: Session) -> SurveyResult:
    """All stages; a mosaic is inferred as soon as it is ingested."""
    mosaics = session.plan.mosaics
    ingested = [submit_stage("ingest", session, ingest_mosaic, mosaic) for mosaic in mosaics]
    inferred = [
        submit_stage("infer", session, infer_mosaic, mosaic, after=[future])
        for mosaic, future in zip(mosaics, ingested, strict=True)
    ]
    ingest_table(mosaics, [future.result() for future in ingested])
    infer_table(mosaics, [future.result() for future in inferred])
    settle_lost(session)
    return publish(session)


def ingest_table(mosaics: tuple[MosaicPlan, ...], results: list[list[dict[str, Any]]]) -> None:
    """Post what was read, band by band."""
    shown = ("band", "path", "zeropoint", "n_bad", "sky", "rms", "seconds")
    rows = [
        {"mosaic": mosaic.id} | {key: record[key] for key in shown}
        for mosaic, records in zip(mosaics, results, strict=True)
        for record in records
    ]
    stage_table("ingest", rows)


def infer_table(mosaics: tuple[MosaicPlan, ...], results: list[dict[str, int]]) -> None:
    """Post how many tiles ended in which state, mosaic by mosaic."""
    stage_table("infer", [{"mosaic": mosaic.id} | dict(states) for mosaic, states in zip(mosaics, results, strict=True)])


def publish(session: Session) -> SurveyResult:
    """Publish the catalog and post its table."""
    result = publish_survey(session)
    row = {"sources": result.n_sources, "primary": result.n_primary, "catalog": str(result.output)}
    stage_table("publish", [row | {"performance": performance_line(result.performance)}])
    return result
