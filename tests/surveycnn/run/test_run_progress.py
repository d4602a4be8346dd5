"""What a run shows while it goes on: the same facts as lines and as a live view."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from surveycnn.run.live_view import LiveView, open_view
from surveycnn.run.progress import Lines, is_live, open_progress
from surveycnn.run.tally import SHOWN_FAILURES, Tally
from surveycnn.run.unit_counts import UnitCounts
from surveycnn.run.workers import WorkerLedger


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def report(progress: Lines | LiveView, clock: Clock) -> None:
    """Half of a run: 2 of 8 tiles in 10 s, of which one has failed; one of two workers is lost."""
    workers = WorkerLedger()
    workers.join("a", "a", 1)
    workers.join("b", "b", 1)
    workers.leave("b", is_lost=True)
    progress.watch(workers)
    progress.expect("ingest", 4)
    progress.expect("infer", 8)
    progress.add("ingest", 4)
    progress.advance("ingest", 4)
    progress.add("infer", 3)
    clock.now += 10
    progress.found(250)
    progress.advance("infer")
    progress.failed("tile 0_1 of mosaic m1 failed: ValueError: no luck")
    progress.advance("infer")


FACTS = ("2 of 8 tiles", "250 sources, 25/s, 1 failed", "0:00:30 left", "1 worker, 1 lost", "4 of 4 images", "no luck")


def drawn(view: LiveView, console: Console) -> str:
    with console.capture() as capture:
        console.print(view)
    return capture.get()


@pytest.mark.parametrize("width", [60, 80, 200])
def test_live_view__shows_the_facts_within_the_width(width, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    console, clock = Console(width=width, file=io.StringIO(), force_terminal=True), Clock()
    view = LiveView(console, clock=clock)
    report(view, clock)
    text = drawn(view, console)
    for fact in FACTS:
        assert fact in text
    assert (
        max(map(len, text.splitlines())) <= width
        and len(text.splitlines()) == 4
        and "\x1b[3" not in text
        and "\x1b[9" not in text
    )


def test_live_view__many_failures_keep_the_last_few_and_pass_on_the_others():
    console = Console(width=60, file=io.StringIO())
    view = LiveView(console)
    view.add("infer", 40)
    for number in range(40):
        view.failed(f"tile {number} failed: " + 100 * "long ")
    lines = drawn(view, console).splitlines()
    assert len(lines) == 2 + SHOWN_FAILURES and "40 failed" in lines[1]
    assert lines[-1].startswith("tile 39 failed") and lines[-1].endswith("…")
    assert "tile 0 failed" in console.file.getvalue() and "tile 37" not in console.file.getvalue()


def test_live_view__control_characters_of_others_are_written_out():
    console = Console(width=80, file=io.StringIO())
    view = LiveView(console)
    view.add("infer", 1)
    view.failed("tile \x1b[2J failed")
    view.message("band \x1b[31m[bold]g[/bold]")
    assert r"tile \x1b[2J failed" in drawn(view, console)
    assert "band \\x1b[31m[bold]g[/bold]\n" in console.file.getvalue()


def test_lines__say_the_same():
    stream, clock = io.StringIO(), Clock()
    report(Lines(stream, interval=5, clock=clock), clock)
    lines = stream.getvalue().splitlines()
    assert lines == [
        "ingest: 4 of 4 images, after 0:00:00, 1 worker, 1 lost",
        "infer: 1 of 8 tiles, 250 sources, 25/s, 0:01:10 left, 1 worker, 1 lost",
        "tile 0_1 of mosaic m1 failed: ValueError: no luck",
    ]


def test_lines__at_most_one_in_an_interval_and_one_at_the_end():
    stream, clock = io.StringIO(), Clock()
    lines = Lines(stream, interval=10, clock=clock)
    lines.add("infer", 1000)
    for _ in range(1000):
        clock.now += 0.05
        lines.advance("infer")
    printed = stream.getvalue().splitlines()
    assert 4 <= len(printed) <= 6 and printed[-1] == "infer: 1000 of 1000 tiles, after 0:00:50"


def test_tally__remaining_time_is_of_all_units_that_are_foreseen_and_unknown_at_first():
    clock = Clock()
    tally = Tally(clock)
    tally.expect("infer", 100)
    tally.add("infer", 10)
    stage = tally.stages["infer"]
    clock.now += 5
    assert stage.seconds_left(clock.now) is None
    tally.advance("infer", 10)
    assert stage.seconds_left(clock.now) == 45 and not stage.is_through
    tally.add("infer", 90)
    tally.advance("infer", 90)
    assert stage.is_through and stage.seconds_left(clock.now) is None
    clock.now += 100
    assert stage.seconds(clock.now) == 5, "the clock of a stage stops with it"


def test_unit_counts__a_second_try_at_a_mosaic_counts_nothing_twice():
    counts = UnitCounts()
    counts.set("infer", "m1", 4)
    assert counts.begin("infer", "m1", 4) == 4
    for _ in range(3):
        counts.advance("infer", "m1")
    assert counts.begin("infer", "m1", 1) == 0 and counts.totals["infer"] == 4  # three of them were done
    counts.advance("infer", "m1")
    assert counts.begin("infer", "m1", 1) == 1 and counts.totals["infer"] == 5  # one had failed, and counts again
    assert counts.begin("infer", "m2", 2) == 2 and counts.totals["infer"] == 7


@pytest.mark.parametrize(
    ("variables", "expected"),
    [({"TERM": "xterm"}, True), ({"TERM": "dumb"}, False), ({"TERM": ""}, False), ({"TERM": "xterm", "CI": "true"}, False)],
)
def test_is_live__where_lines_can_be_drawn_anew(variables, expected, monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_live(Terminal()) is expected and not is_live(io.StringIO())


def test_open_progress__of_a_log_is_lines():
    with open_progress(io.StringIO()) as progress:
        assert isinstance(progress, Lines)


def test_open_view__leaves_the_cursor_and_the_last_state():
    stream = Terminal()
    with pytest.raises(KeyboardInterrupt), open_view(stream) as view:
        view.add("infer", 8)
        view.message("a note")
        raise KeyboardInterrupt
    text = stream.getvalue()
    assert "a note" in text and "0 of 8 tiles" in text and text.endswith("\n") and "\x1b[?25l" not in text
