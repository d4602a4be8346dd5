"""The live view of a run on a terminal, drawn by `rich`: bars of stages, what was found, who is at work, what failed."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from surveycnn.errors import printable
from surveycnn.run.tally import Stage, Tally, count_text, left_text, time_text

DRAWN_PER_SECOND = 4
BAR_WIDTH = 40


class SteadyConsole(Console):
    """A console that leaves the cursor alone: hidden, it would stay so where the process is killed."""

    def show_cursor(self, show: bool = True) -> bool:
        return False


class LiveView(Tally):
    """A progress that is drawn anew a few times a second, below the messages."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic):
        super().__init__(clock)
        self._console = console
        self._started = self.clock()
        # in a thread of its own: Ctrl-C, which is raised in the main thread, would tear a line that is being drawn
        self._pen = ThreadPoolExecutor(1, thread_name_prefix="messages")

    def message(self, text: str) -> None:
        self._pen.submit(self._console.print, printable(text), markup=False, highlight=False, soft_wrap=True).result()

    def close(self) -> None:
        """Wait for the last message to be drawn."""
        self._pen.shutdown()

    def failed(self, text: str) -> None:
        """Count and show a failure; the one that gives way to it becomes a message."""
        with self.lock:
            before = self.failures
            super().failed(text)
            older = before[: len(before) + 1 - len(self.failures)]
        for one in older:
            self.message(one)

    def __rich__(self) -> RenderableType:
        with self.lock:
            now = self.clock()
            if not self.stages:
                return Text(f"running for {time_text(now - self._started)}", style="dim")
            parts: list[RenderableType] = [self._bars(now)]
            facts = "; ".join(", ".join(facts) for facts in (self.findings(), self.workers()) if facts)
            parts += [Text(facts, style="bold")] if facts else []
            parts += [Text(printable(text), style="red", no_wrap=True, overflow="ellipsis") for text in self.failures]
            return Group(*parts)

    def _bars(self, now: float) -> Table:
        table = Table.grid(padding=(0, 1), expand=False)
        for _ in range(5):
            table.add_column(no_wrap=True)
        for name, stage in self.stages.items():
            if not stage.total:
                continue
            cells = (
                count_text(name, stage),
                time_text(stage.seconds(now)) if stage.begun is not None else "",
                left_text(stage, now),
            )
            table.add_row(name, self._bar(stage), *cells)
        return table

    def _bar(self, stage: Stage) -> ProgressBar:
        width = max(8, min(BAR_WIDTH, self._console.width - 52))
        is_step = stage.total <= 1 and not stage.is_through and stage.begun is not None
        return ProgressBar(total=max(stage.total, 1), completed=stage.done, width=width, pulse=is_step)


@contextmanager
def open_view(stream: TextIO) -> Iterator[LiveView]:
    """A view on `stream`; its last state stays on the screen."""
    console = SteadyConsole(file=stream)
    view = LiveView(console)
    # what others print goes above the view; results that are piped elsewhere are left alone
    live = Live(view, console=console, refresh_per_second=DRAWN_PER_SECOND, redirect_stdout=sys.stdout.isatty())
    with live:
        try:
            yield view
        finally:
            view.close()
            live.transient = not view.stages
