"""Flow: simulate a small survey, run it, and compare the catalog with the truth."""

from __future__ import annotations

from typing import Any

from surveycnn.config import SurveyConfig
from surveycnn.errors import UserError
from surveycnn.flows.interrupts import raising_interrupts
from surveycnn.flows.stages import ended_by, ended_with, survey_flow
from surveycnn.flows.survey import survey
from surveycnn.run.demo import DemoConfig, run_demo
from surveycnn.run.progress import Lines, Progress


@survey_flow("demo")
def demo(config: DemoConfig, fresh: bool = False) -> Any:
    """Simulate a small survey, run it, and compare the catalog with the truth."""

    def subflow(config: SurveyConfig, fresh: bool, progress: Progress) -> Any:
        with raising_interrupts():
            return survey(config, fresh=fresh)

    try:
        # Plain lines: the survey has the terminal's live bars, and there can be one set of them.
        result = run_demo(config, fresh=fresh, progress=Lines(), survey=subflow)
        return ended_with(result.survey, result)
    except (UserError, KeyboardInterrupt) as error:
        return ended_by(error)
