"""The stages of a run as Prefect tasks, one per stage and mosaic, with one progress and one table artifact per stage.

Tiles are no Prefect tasks: Prefect manages some 10 to 200 tasks a second, Dask thousands. The tasks here are driver threads
that feed the run's executor.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_progress_artifact, create_table_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.states import Cancelled, Crashed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from surveycnn.config import SurveyConfig
from surveycnn.errors import UserError
from surveycnn.flows.interrupts import INTERRUPTED, StoppableProgress, Terminated, closing_at_signals, end_at_once, stop_event
from surveycnn.flows.server import end_server_with_process, has_lost_server
from surveycnn.run.plan import MosaicPlan
from surveycnn.run.progress import Progress, open_progress
from surveycnn.run.session import Session, open_session
from surveycnn.run.survey import MAX_MOSAICS_AT_ONCE

RETRIES = 2
"""Of a whole stage of a mosaic: what is finished is not done again."""
RETRY_SECONDS = 5
ARTIFACT_SECONDS = 5.0


def survey_flow(name: str) -> Callable[[Callable[..., Any]], Any]:
    """Decorator that makes a function a flow whose tasks share this process's threads."""
    runner: Any = ThreadPoolTaskRunner(max_workers=MAX_MOSAICS_AT_ONCE)
    return flow(name=name, task_runner=runner, validate_parameters=True)


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
        name=f"{stage}-{mosaic.id}",
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
            open_session(
                config, fresh=fresh, update=update, progress=StoppableProgress(ArtifactProgress(shown), stopped)
            ) as session,
            closing_at_signals(stopped),
        ):
            return function(session)
    except (UserError, KeyboardInterrupt) as error:
        return ended_by(error)


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


def stage_table(stage: str, rows: list[dict[str, Any]]) -> None:
    """Post the table artifact of a stage."""
    create_table_artifact(key=f"surveycnn-{stage}", table=rows, description=f"Stage {stage} by mosaic")


class ArtifactProgress:
    """Passes everything on to another progress, and posts one progress artifact per stage, every few seconds at most."""

    def __init__(self, shown: Progress):
        self._shown = shown
        self._lock = threading.Lock()
        self._stages: dict[str, dict[str, Any]] = {}

    def message(self, text: str) -> None:
        self._shown.message(text)

    def add(self, stage: str, n_units: int) -> None:
        self._shown.add(stage, n_units)
        with self._lock:
            if stage not in self._stages:
                artifact = create_progress_artifact(progress=0.0, key=f"surveycnn-{stage}-progress", description=f"Stage {stage}")
                self._stages[stage] = {"artifact": artifact, "done": 0, "total": 0, "posted": time.monotonic()}
            self._stages[stage]["total"] += n_units

    def advance(self, stage: str, n_units: int = 1) -> None:
        self._shown.advance(stage, n_units)
        with self._lock:
            state = self._stages[stage]
            state["done"] += n_units
            now = time.monotonic()
            if state["done"] == state["total"] or now - state["posted"] > ARTIFACT_SECONDS:
                state["posted"] = now
                update_progress_artifact(artifact_id=state["artifact"], progress=100.0 * state["done"] / state["total"])
