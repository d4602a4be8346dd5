"""Flow for schedules: look for new mosaics, and run those alone."""

from __future__ import annotations

from typing import Annotated, Any

from prefect.states import Completed
from pydantic import Field

from surveycnn.config import SurveyConfig
from surveycnn.errors import UserError
from surveycnn.flows.interrupts import raising_interrupts
from surveycnn.flows.server import end_server_with_process
from surveycnn.flows.stages import ended_by, ended_with, survey_flow
from surveycnn.flows.survey import survey
from surveycnn.flows.watching import SETTLE_MINUTES, Look, run_watch
from surveycnn.run.progress import Lines, Progress


@survey_flow("watch")
def watch(config: str | SurveyConfig, settle_minutes: Annotated[float, Field(ge=0)] = SETTLE_MINUTES, fresh: bool = False) -> Any:
    """Run what is new in `config`, a configuration or the path of its file on this machine; ends at once where nothing is.

    Mosaics of which a file was modified within `settle_minutes` are left for the next look.
    """
    end_server_with_process()

    def subflow(config: SurveyConfig, fresh: bool, update: bool, progress: Progress) -> Any:
        with raising_interrupts():
            return survey(config, fresh=fresh, update=update)

    try:
        result = run_watch(config, settle_minutes=settle_minutes, fresh=fresh, progress=Lines(), survey=subflow)
    except (UserError, KeyboardInterrupt) as error:
        return ended_by(error)
    if isinstance(result, Look):
        return Completed(name="Stepped aside" if result.is_busy else "Nothing new", message=result.reason, data=result)
    return ended_with(result)
