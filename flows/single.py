"""Flows that are one long call: what they share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from surveycnn.errors import UserError
from surveycnn.flows.interrupts import closing_at_signals, stop_event
from surveycnn.flows.server import end_server_with_process
from surveycnn.flows.stages import ended_by
from surveycnn.run.progress import open_progress


def run_single(function: Callable[..., Any], config: Any, fresh: bool) -> Any:
    """Result of `function`, or the state of a flow that a mistake of its user or a signal has stopped."""
    end_server_with_process()
    try:
        with open_progress() as progress, closing_at_signals(stop_event()):
            return function(config, fresh=fresh, progress=progress)
    except (UserError, KeyboardInterrupt) as error:
        return ended_by(error)
