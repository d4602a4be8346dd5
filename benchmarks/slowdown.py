"""How close a survey comes to its bare parts: end to end over the sum of what nobody can do without; and engines side by side.

    python -m benchmarks.slowdown survey.yaml [--size 10000] [--models lens] [--models lens morphology merger photoz]
        [--engines openvino tensorflow predict openvino:bfloat16] [--cluster threads] [--repeat 3] [--set a.b=value]

End to end is from the mosaic files to the published catalog. Start-up is apart and stated: a process of its own for each engine
first runs the survey of a mosaic of 512 px, which imports and loads all models. Then the survey and the bare parts run
alternately, and engines take turns, so that a machine that is busy for a while is so for all. ``predict`` is Keras's
`Model.predict`, in batches of 64. With ``--cluster local`` the survey runs in a Dask cluster that stays up from the start-up
on. ``--size`` crops or repeats the first mosaic. Files lie in the page cache for both sides, which is warm from the writing or
from the start-up.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil
from astropy.table import Table
from scipy.stats import rankdata, spearmanr

from benchmarks.environment import environment, table
from benchmarks.mosaics import mosaic_of_size
from benchmarks.timed import Lap, Parts, Timed, run_timed, running_cluster, stage_lines, start_up
from surveycnn.config import SurveyConfig, load_config
from surveycnn.models.package import find_card
from surveycnn.run.machine import n_cores
from surveycnn.run.process import tune_process

TOP = 0.01
"""Share of sources that a user would look at."""


@dataclass(frozen=True)
class Measured:
    """One engine's process."""

    start_up: float
    """Seconds from the start of the process to the end of the survey of the small mosaic."""
    surveys: list[Timed]
    bare: list[Parts]
    """Of each repeat."""

    @property
    def sums(self) -> list[Lap]:
        """The bare parts together, each with the threads that suit it best, of each repeat."""
        taken = [[min(by_threads.values()) for by_threads in parts.values()] for parts in self.bare]
        return [Lap(*map(sum, zip(*laps, strict=True))) for laps in taken]

    @property
    def ratios(self) -> list[float]:
        """End to end over the sum of the bare parts, of each repeat."""
        return [survey.seconds / total.seconds for survey, total in zip(self.surveys, self.sums, strict=True)]

    @property
    def cpu_ratio(self) -> float:
        """The same of CPU seconds, the median."""
        return median(survey.cpu / total.cpu for survey, total in zip(self.surveys, self.sums, strict=True))

    @property
    def rate(self) -> float:
        """Sources per second, the median."""
        return median(survey.rate for survey in self.surveys)


class EngineProcess:
    """A fresh process for one engine, whose start-up is that of a user's."""

    def __init__(self, path: Path, overrides: Sequence[str], engine: str, cluster: str, folder: Path):
        self._pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        self._ready = self._pool.submit(_prepare, str(path), list(overrides), engine, cluster, folder).result()
        self._pairs: list[tuple[Timed, Parts]] = []

    def once(self) -> None:
        """Run the survey and the bare parts."""
        self._pairs.append(self._pool.submit(_once).result())

    def finish(self) -> Measured:
        """End the process; what it has measured."""
        self._pool.submit(_finish).result()
        self._pool.shutdown()
        return Measured(self._ready, [survey for survey, _ in self._pairs], [bare for _, bare in self._pairs])


_here: dict[str, Any] = {}
"""What an engine's process keeps between its jobs."""


def _prepare(path: str, overrides: list[str], engine: str, cluster: str, folder: Path) -> float:
    from benchmarks.predict_engine import use_predict

    tune_process()  # as `surveycnn run-flow` does
    kind, _, precision = engine.partition(":")
    own = use_predict() if kind == "predict" else [f"engine.kind={kind}", f"engine.precision={precision or 'auto'}"]
    _here["stack"] = ExitStack()
    word = _here["stack"].enter_context(running_cluster(cluster))
    places = [f"output={folder / 'out'}", f"work_dir={folder / 'work'}", f"cluster={word}"]
    config = _here["config"] = load_config(path, [*overrides, *own, *places])
    start_up(config, folder / "small")
    return time.time() - psutil.Process().create_time()


def _once() -> tuple[Timed, Parts]:
    from benchmarks.bare import bare_parts, load_predictors

    config = _here["config"]
    survey = run_timed(config)
    _here["predictors"] = _here.get("predictors") or load_predictors(config)
    return survey, bare_parts(config, _here["predictors"], survey.rows())


def _finish() -> None:
    _here["stack"].close()


def parts_table(found: Measured) -> str:
    """Times of the parts (medians over the repeats) and their sum, beside end to end."""
    n_threads, rows = n_cores(), []
    total = _median(found.sums)
    for part, first in found.bare[0].items():
        by_threads = {n: _median([parts[part][n] for parts in found.bare]).seconds for n in first}
        cells = [f"{by_threads[n]:.2f}" if n in by_threads else "" for n in (1, n_threads)]
        rows.append([part, *cells, *_cells(_median([min(parts[part].values()) for parts in found.bare]), total)])
    whole = _median([Lap(survey.seconds, survey.cpu) for survey in found.surveys])
    rows += [["sum of the bare parts", "", "", *_cells(total, total)], ["end to end", "", "", *_cells(whole, total)]]
    return table(["part", "s, 1 thread", f"s, {n_threads} threads", "s, taken", "share", "CPU s", "share of CPU"], rows)


def _median(laps: Sequence[Lap]) -> Lap:
    return Lap(*map(median, zip(*laps, strict=True)))


def _cells(taken: Lap, total: Lap) -> list[str]:
    shares = [f"{part / whole:.0%}" for part, whole in zip(taken, total, strict=True)]
    return [f"{taken.seconds:.2f}", shares[0], f"{taken.cpu:.2f}", shares[1]]


def rank_agreement(scores: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
    """Spearman's coefficient of two columns, and the area under the ROC curve with which `scores` find the top of `reference`."""
    known = np.isfinite(scores) & np.isfinite(reference)
    scores, reference = scores[known], reference[known]
    n_top = max(1, round(TOP * len(reference)))
    is_top = np.argsort(np.argsort(-reference, kind="stable"), kind="stable") < n_top
    n_rest = len(reference) - n_top
    area = (rankdata(scores)[is_top].sum() - n_top * (n_top + 1) / 2) / max(n_top * n_rest, 1)
    return float(spearmanr(scores, reference).statistic), float(area)


def score_columns(config: SurveyConfig) -> list[str]:
    """The first column of each model that has one number per source."""
    return [next(iter(find_card(model).schema)) for model in config.models]


def compare(rows: Table, reference: Table, columns: Sequence[str]) -> list[str]:
    """Worst agreement over the columns, as cells of a table."""
    if len(rows) != len(reference):
        return [f"{len(rows)} sources, not {len(reference)}", ""]
    pairs = [rank_agreement(np.asarray(rows[name]), np.asarray(reference[name])) for name in columns]
    return [f"{min(pair[k] for pair in pairs):.6f}" for k in (0, 1)]


def print_engines(found: dict[str, Measured], columns: Sequence[str], in_process: bool = True) -> None:
    """Engines beside the last one; CPU seconds of a run in other processes are not known."""
    last = next(reversed(found))
    reference, rows = found[last].surveys[-1].rows(), []
    for engine, measured in found.items():
        rates = [f"{measured.rate:.1f}", f"{measured.rate / found[last].rate:.2f}"]
        agreement = compare(measured.surveys[-1].rows(), reference, columns)
        ratios = f"{median(measured.ratios):.3f} ({', '.join(f'{ratio:.3f}' for ratio in measured.ratios)})"
        rows.append(
            [engine, f"{measured.start_up:.1f}", *rates, ratios, f"{measured.cpu_ratio:.3f}" if in_process else "", *agreement]
        )
    header = ["engine", "start-up s", "sources/s", f"over {last}", "end to end / bare", "of CPU"]
    print(table([*header, f"Spearman with {last}", f"AUC of its top {TOP:.0%}"], rows), flush=True)


def run(config: SurveyConfig, path: Path, overrides: list[str], arguments: argparse.Namespace, folder: Path) -> None:
    """Measure and print one set of models with all engines."""
    processes = {
        engine: EngineProcess(path, overrides, engine, arguments.cluster, folder / engine.replace(":", "_"))
        for engine in arguments.engines
    }
    for _ in range(arguments.repeat):
        for process in processes.values():
            process.once()
    found = {engine: process.finish() for engine, process in processes.items()}
    for engine, measured in found.items():
        n_sources = measured.surveys[-1].n_sources
        print(f"\n{', '.join(config.models)}; {engine}; {n_sources} sources; {arguments.repeat} times, medians\n")
        print(parts_table(measured))
        print(stage_lines(measured.surveys), flush=True)
    print()
    print_engines(found, score_columns(config), in_process=arguments.cluster != "local")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="survey configuration; its first mosaic is used")
    parser.add_argument("--size", type=int, help="side of the mosaic in px: crop or repeat it; default: as it is")
    parser.add_argument("--models", nargs="+", action="append", help="models of a run; again for another one; default: lens")
    parser.add_argument("--engines", nargs="+", default=["openvino"], help="KIND, KIND:PRECISION or predict")
    parser.add_argument("--cluster", default="threads", choices=["threads", "serial", "local"], help="what runs the tiles")
    parser.add_argument("--repeat", type=int, default=3, help="times that parts and survey are run, alternately")
    parser.add_argument("--scratch", help="folder for temporary files: the mosaic twice, where --size is given")
    parser.add_argument("--set", dest="overrides", action="append", default=[], help="change of the configuration, a.b=value")
    arguments = parser.parse_args()
    if "predict" in arguments.engines and arguments.cluster == "local":
        parser.error("predict runs in this process alone: use --cluster threads")
    print(environment(f"cluster {arguments.cluster}, the engine on {n_cores()} cores"))
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as folder:
        path = Path(arguments.config)
        config = load_config(path, arguments.overrides)
        if arguments.size or len(config.mosaics) > 1:
            size = arguments.size or parser.error("the configuration has several mosaics: give --size, which takes the first")
            mosaic_of_size(config, size, Path(folder) / "mosaic")
            path = Path(folder) / "mosaic" / "survey.yaml"
        for number, models in enumerate(arguments.models or [["lens"]]):
            overrides = [*arguments.overrides, f"models=[{', '.join(models)}]"]
            run(load_config(path, overrides), path, overrides, arguments, Path(folder) / str(number))


if __name__ == "__main__":
    main()
