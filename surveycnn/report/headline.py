"""Headline figures of a run: how much sky, how many sources, in how long."""

from __future__ import annotations

from surveycnn.report.figures import compact
from surveycnn.report.gather import Gathered
from surveycnn.report.page import Tile
from surveycnn.report.record import Record


def headline(record: Record, found: Gathered, area: float | None) -> list[Tile]:
    """Figures for the head of the page; those that are not known are left out."""
    return [*_sky(found, area), *_tiles(record), *_time(record), *_workers(record)]


def _sky(found: Gathered, area: float | None) -> list[Tile]:
    tiles = []
    if area is not None:
        small = area < 0.1
        tiles.append(Tile("Area", compact(area * 3600 if small else area), "arcmin²" if small else "deg²", "searched sky"))
    tiles.append(Tile("Sources", f"{found.n_rows:,}", "", "rows of the catalog"))
    if found.layout.has("is_primary"):
        share = 100 * found.n_primary / found.n_rows if found.n_rows else 0.0
        tiles.append(Tile("Primary", f"{found.n_primary:,}", "", f"{share:.4g} % of the rows, each object once"))
    return tiles


def _tiles(record: Record) -> list[Tile]:
    counts = record.tiles
    if not counts:
        return []
    n = sum(count for _, count, _ in counts)
    rest = ", ".join(f"{count:,} {state}" for state, count, _ in counts if state != "done")
    done = sum(count for state, count, _ in counts if state == "done")
    return [Tile("Tiles", f"{done:,}", f"of {n:,}", rest or "all done")]


def _time(record: Record) -> list[Tile]:
    tiles = []
    seconds = record.number("performance", "seconds", "total")
    if seconds is not None:
        stages = [(stage, record.number("performance", "seconds", stage)) for stage in ("start_up", "ingest", "infer", "publish")]
        note = ", ".join(f"{stage.replace('_', '-')} {duration(value)}" for stage, value in stages if value)
        tiles.append(Tile("Time", duration(seconds), "", note))
    rate = record.number("performance", "sources_per_s", "end_to_end")
    if rate is not None:
        infer = record.number("performance", "sources_per_s", "infer")
        note = f"{compact(infer)} while inferring" if infer else "end to end"
        tiles.append(Tile("Sources per second", compact(rate), "", note))
    slowdown = record.number("performance", "slowdown")
    if slowdown is not None:
        tiles.append(Tile("Slowdown", f"{slowdown:.3g}", "×", "infer over its bare forward passes"))
    return tiles


def _workers(record: Record) -> list[Tile]:
    """Workers; an earlier version wrote their number alone."""
    n = record.number("performance", "workers", "most_at_once") or record.number("performance", "workers")
    if not n:
        return []
    lost = record.number("performance", "workers", "lost")
    efficiency = record.number("performance", "workers", "efficiency")
    notes = [f"{100 * efficiency:.3g} % of the paid time busy"] if efficiency is not None else []
    notes += [f"{lost:.0f} lost"] if lost else []
    return [Tile("Workers", f"{n:.0f}", "", ", ".join(notes) or "at most at once")]


def duration(seconds: float) -> str:
    """Time for people.

    >>> duration(30.02), duration(754), duration(9100)
    ('30 s', '12 min 34 s', '2 h 31 min')
    """
    if seconds < 100:
        return f"{seconds:.2g} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"
