"""A whole survey without an orchestrator: ingest and infer each mosaic, publish the catalog; and each of the three alone.

The Prefect flows make the same calls in tasks of their own, so both ways give the same catalog.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from surveycnn.config import SurveyConfig
from surveycnn.run.plan import MosaicPlan
from surveycnn.run.progress import Progress
from surveycnn.run.publish import SurveyResult, publish_survey
from surveycnn.run.session import Session, infer_mosaic, ingest_mosaic, open_session, settle_lost

MAX_MOSAICS_AT_ONCE = 16


def run_survey(
    config: SurveyConfig, *, fresh: bool = False, update: bool = False, progress: Progress | None = None
) -> SurveyResult:
    """Run a survey from mosaics to the published catalog; the same call again goes on where it stopped.

    Parameters
    ----------
    config
        From :func:`surveycnn.load_config`.
    fresh
        Start over instead.
    update
        Go on also where the configuration, a model or an image is another now, and compute again what depends on it.
    progress
        What to report to; nothing by default.

    Raises
    ------
    UserError
        Where the input, the configuration or a model cannot be used.
    """

    def whole(session: Session, mosaic: MosaicPlan) -> None:
        ingest_mosaic(session, mosaic)
        infer_mosaic(session, mosaic)

    with open_session(config, fresh=fresh, update=update, progress=progress) as session:
        session.expect("ingest", "infer")
        each_mosaic(session, whole)
        settle_lost(session)
        return publish_survey(session)


def run_ingest(
    config: SurveyConfig, *, fresh: bool = False, update: bool = False, progress: Progress | None = None
) -> list[dict[str, Any]]:
    """Bring all mosaics into the chunk store; returns the records of all bands."""
    with open_session(config, fresh=fresh, update=update, progress=progress) as session:
        session.expect("ingest")
        return [record for records in each_mosaic(session, ingest_mosaic) for record in records]


def run_infer(
    config: SurveyConfig, *, fresh: bool = False, update: bool = False, progress: Progress | None = None
) -> dict[str, int]:
    """Run the tiles of all mosaics that are in the chunk store; returns how many ended in which state."""
    with open_session(config, fresh=fresh, update=update, progress=progress) as session:
        session.expect("infer")
        states: Counter[str] = sum(each_mosaic(session, infer_mosaic), start=Counter())
        del states["lost"]
        return dict(states + settle_lost(session))


def run_publish(
    config: SurveyConfig, *, fresh: bool = False, update: bool = False, progress: Progress | None = None
) -> SurveyResult:
    """Publish the catalog of the tiles that have run."""
    with open_session(config, fresh=fresh, update=update, progress=progress) as session:
        return publish_survey(session)


def each_mosaic(session: Session, function: Callable[[Session, MosaicPlan], Any]) -> list[Any]:
    """Results of `function` for every mosaic of the plan, in the order of the plan.

    Small mosaics are worked on several at once, so that the end of one does not leave a large cluster idle.
    """
    mosaics = session.plan.mosaics
    n_at_once = mosaics_at_once(session)
    if n_at_once == 1:
        return [function(session, mosaic) for mosaic in mosaics]
    with ThreadPoolExecutor(n_at_once, thread_name_prefix="mosaic") as pool:
        futures = [pool.submit(function, session, mosaic) for mosaic in mosaics]
        try:
            return [future.result() for future in futures]
        except BaseException as error:
            if not isinstance(error, Exception):
                session.stop()  # the others would go on with their tiles
            pool.shutdown(cancel_futures=True)
            raise


def mosaics_at_once(session: Session) -> int:
    """Mosaics to drive at the same time, so that their tiles fill the cluster's window."""
    mosaics = session.plan.mosaics
    if len(mosaics) == 1 or not session.has_work() or session.cluster.kind == "serial":
        return 1
    tiles_per_mosaic = max(1, session.plan.n_tiles // len(mosaics))
    return min(len(mosaics), MAX_MOSAICS_AT_ONCE, 1 + math.ceil(session.cluster.window / tiles_per_mosaic))
