"""The stages of a run as Prefect tasks, one per stage and mosaic, and the states in which runs end.

Tiles are no Prefect tasks: Prefect manages some 10 to 200 tasks a second, Dask thousands. The tasks here are driver threads
that feed the run's executor.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.states import Cancelled, Completed, Crashed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from surveycnn.config import SurveyConfig
from surveycnn.errors import UserError
from surveycnn.flows.artifacts import ArtifactProgress
from surveycnn.flows.interrupts import (
    INTERRUPTED,
    StoppableProgress,
    Terminated,
    closing_at_signals,
    end_at_once,
    stop_event,
)
from surveycnn.flows.names import run_name
from surveycnn.flows.server import end_server_with_process, has_lost_server
from surveycnn.run.plan import MosaicPlan
from surveycnn.run.progress import Progress, open_progress
from surveycnn.run.publish import SurveyResult
from surveycnn.run.session import Session, open_session
from surveycnn.run.survey import MAX_MOSAICS_AT_ONCE

PARTIAL = "Partial"
"""Name of the state of a run that has published its catalog without some tiles."""

RETRIES = 2
"""Of a whole stage of a mosaic: what is finished is not done again."""
RETRY_SECONDS = 5


def survey_flow(name: str) -> Callable[[Callable[..., Any]], Any]:
    """Decorator that makes a function a flow whose tasks share this process's threads."""
    runner: Any = ThreadPoolTaskRunner(max_workers=MAX_MOSAICS_AT_ONCE)
    # Results are for the process that has called the flow; what others may read is in the artifacts and in the catalog.
    return flow(name=name, flow_run_name=run_name, task_runner=runner, validate_parameters=True, persist_result=False)


def submit_stage(
    stage: str,
    session: Session,
    function: Callable[[Session, MosaicPlan], Any],
    mosaic: MosaicPlan,
    after: list[PrefectFuture] | None = None,
) -> PrefectFuture:
    """Future of a task that runs `function` on `mosaic` once the tasks `after` are done."""

    # A closure: Prefect would walk through, and try to hash, a session that is passed as a parameter.
    @task(
        name=stage,
        task_run_name=f"{stage} {mosaic.id}",
        cache_policy=NO_CACHE,
        retries=RETRIES,
        retry_delay_seconds=RETRY_SECONDS,
        retry_condition_fn=_may_be_retried,
        persist_result=False,
    )
    def run_stage() -> Any:
        return function(session, mosaic)

    return run_stage.submit(return_state=False, wait_for=after)


def _may_be_retried(task: Any, run: Any, state: Any) -> bool:
    """Whether trying again can help: with files and connections; not with wrong input, a fault of ours, or an interruption."""
    return isinstance(state.result(raise_on_failure=False), OSError)


def in_session(config: SurveyConfig, fresh: bool, update: bool, function: Callable[[Session], Any]) -> Any:
    """Result of `function` on a run of `config`, or the state of a flow that a mistake of its user or a signal has stopped."""
    end_server_with_process()
    stopped = stop_event()
    try:
        with (
            open_progress() as shown,
            open_session(config, fresh=fresh, update=update, progress=_progress(shown, config, stopped)) as session,
            closing_at_signals(stopped),
            _ending_threads(session),
        ):
            return function(session)
    except (UserError, KeyboardInterrupt) as error:
        return ended_by(error)


@contextmanager
def _ending_threads(session: Session) -> Iterator[None]:
    """End the waiting of the stages' threads where the run is interrupted: Prefect waits for them."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception):
            session.stop()
        raise


def _progress(shown: Progress, config: SurveyConfig, stopped: threading.Event) -> Progress:
    return StoppableProgress(ArtifactProgress(shown, config.name, get_run_logger()), stopped)


def ended_with(result: SurveyResult, data: Any = None) -> Any:
    """State of a flow that has published a catalog: Completed, or Partial where tiles are missing; with `data` or else `result`.

    Partial is of the type COMPLETED: there is a catalog, and what waits for one may go on. Its name is what people see, and what
    an automation can tell it by.
    """
    tiles = result.status.tiles
    text = f"{result.n_sources} sources from {tiles.total()} tiles"
    missing = ", ".join(f"{tiles[state]} {state}" for state in ("failed", "quarantined") if tiles[state])
    if missing:
        return Completed(name=PARTIAL, message=f"{text}: {missing}; the same run again tries them", data=data or result)
    return Completed(message=text, data=data or result)


def ended_by(error: UserError | KeyboardInterrupt) -> Any:
    """State of a flow that the user's input, Ctrl-C or SIGTERM has stopped: the message without a traceback.

    Ctrl-C is the user's will, so the run is Cancelled. SIGTERM may be a batch system's, so the run has Crashed, as Prefect has it
    too: an automation may start it again.
    """
    if isinstance(error, UserError):
        return Failed(message=str(error), data=error)
    if has_lost_server():
        end_at_once()  # Prefect would try for long to tell it
    # Without the exception: Prefect would raise it in its event loop, which a KeyboardInterrupt breaks.
    return (Crashed if isinstance(error, Terminated) else Cancelled)(message=INTERRUPTED)
