"""One round of the soak: the same command again and again until its catalog is published, while its processes are killed."""

from __future__ import annotations

import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.soak.compare import differences, verify
from benchmarks.soak.moments import (
    AFTER,
    DECIDED,
    INFER,
    INGEST,
    MERGE,
    MOVING,
    PHASES,
    SETTLE,
    STAGE,
    START,
    Counts,
    Files,
    spread,
)
from benchmarks.soak.processes import OwnCluster, Process, run_environment, send

DRIVER, WORKER, SCHEDULER = "driver", "worker", "scheduler"
VICTIMS = (DRIVER, WORKER, SCHEDULER)
HANG_SECONDS = 300.0
"""Far more than a whole run takes: a driver that lives longer waits for something that never comes."""
N_VERIFIED = 2
"""Tiles that ``verify`` computes again."""
_EXPECTED_ENDS = {0, 2, 130, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT}


@dataclass(frozen=True)
class Kill:
    """A signal that was sent to a process that was there."""

    victim: str
    phase: str
    signal: str
    seconds: float
    """Since the driver was started."""


@dataclass
class Round:
    """What a round was, and what came of it."""

    name: str
    kills: list[Kill] = field(default_factory=list)
    ends: list[int | None] = field(default_factory=list)
    """Exit codes of the drivers, in their order."""
    findings: list[str] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True)
class Setting:
    """What a round runs."""

    survey: Path
    quiet: Path
    """Output folder of a run that nobody has disturbed."""
    folder: Path
    cluster: str
    """``local`` (driver and scheduler are one process) or ``own`` (each process by itself)."""
    with_prefect: bool
    allowed_failures: int
    seed: int
    n_kills: int
    files: Files

    @property
    def name(self) -> str:
        prefect = ", Prefect" if self.with_prefect else ""
        return f"seed {self.seed}, {self.cluster}{prefect}, allowed failures {self.allowed_failures}"


def survey_command(survey: Path, output: Path, cluster: str, with_prefect: bool = False) -> list[str]:
    """The command that is started again and again."""
    command = [sys.executable, "-m", "surveycnn", "run-flow", "survey", str(survey)]
    command += ["--set", f"output={output}", "--set", f"cluster={cluster}"]
    return command if with_prefect else [*command, "--no-prefect"]


def run_round(setting: Setting, tally: Counter[tuple[str, str]]) -> Round:
    """Kill `n_kills` times, let the run finish, and compare its catalog with the quiet one's.

    Parameters
    ----------
    tally
        Kills by victim and phase so far, which grows: what was rarely met is aimed at.
    """
    started, result = time.monotonic(), Round(setting.name)
    setting.folder.mkdir(parents=True, exist_ok=True)
    environment = run_environment(setting.folder.parent, setting.allowed_failures)
    with _cluster(setting, environment) as own:
        _Killer(setting, environment, own, tally, result).run()
    if result.ends[-1] == 0:
        result.findings += differences(setting.quiet, setting.files.output)
        result.findings += verify(setting.files.output, environment, N_VERIFIED)
    result.seconds = time.monotonic() - started
    return result


@contextmanager
def _cluster(setting: Setting, environment: dict[str, str]) -> Iterator[OwnCluster | None]:
    if setting.cluster == "local":
        yield None
        return
    own = OwnCluster(environment, setting.folder)
    try:
        yield own
    finally:
        own.close()


class _Killer:
    """Starts the drivers of a round and kills."""

    def __init__(
        self,
        setting: Setting,
        environment: dict[str, str],
        own: OwnCluster | None,
        tally: Counter[tuple[str, str]],
        result: Round,
    ):
        self._setting, self._environment, self._own = setting, environment, own
        self._tally, self._result, self._files = tally, result, setting.files
        self._rng = random.Random(f"{setting.seed} {setting.cluster}")
        self._before = Counts()
        self.aims = self._plan_aims()
        self._may_settle = False

    @property
    def _n_left(self) -> int:
        return self._setting.n_kills - len(self._result.kills)

    def run(self) -> None:
        """Start the command until it has published and every kill is spent."""
        cluster = self._own.address if self._own else "local"
        command = survey_command(self._setting.survey, self._files.output, cluster, self._setting.with_prefect)
        for _ in range(2 * self._setting.n_kills + 4):
            self._before, self._may_settle = self._files.counts(), False
            driver = Process(command, self._environment, self._setting.folder / "driver.log")
            try:
                self._disturb(driver, time.monotonic())
                code = driver.wait(HANG_SECONDS)
            finally:
                driver.end_group()
            self._note_end(code)
            if code is None or (code == 0 and not self._n_left):
                return
        self._result.findings.append(f"nothing is published after {len(self._result.ends)} starts")

    def _note_end(self, code: int | None) -> None:
        self._result.ends.append(code)
        if code is None:
            self._result.findings.append(f"a driver hung for {HANG_SECONDS:.0f} s")
        elif code not in _EXPECTED_ENDS:
            self._result.findings.append(f"a driver ended with {code}, see {self._setting.folder / 'driver.log'}")

    def _disturb(self, driver: Process, started: float) -> None:
        """Kill during the life of one driver, as long as kills are left."""
        is_new = True
        while self._n_left:
            aim = self._choose_aim(is_new)
            reached, is_new = self._files.reached(aim, self._before, self._rng), False
            if not self._files.wait(reached, aim, driver.alive, HANG_SECONDS):
                return
            _sleep(spread(aim, self._rng))
            if not self._kill(driver, aim, started):
                return

    def _plan_aims(self) -> list[str]:
        """A phase for each kill, in the order in which a run comes by; starts are anywhere."""
        counts = self._counts(0, PHASES)
        counts[DECIDED] = counts[MOVING] = (counts[DECIDED] + counts[MOVING]) // 2  # who aims at one mostly meets the other
        aims: list[str] = []
        for _ in range(self._setting.n_kills):
            aims.append(self._rarest([phase for phase in PHASES if phase != SETTLE], counts))
            counts[aims[-1]] += 1
        planned = sorted((aim for aim in aims if aim != START), key=PHASES.index)
        for _ in range(aims.count(START)):
            planned.insert(self._rng.randint(0, len(planned)), START)
        return planned

    def _choose_aim(self, is_new: bool) -> str:
        """The phase that is planned for the next kill, or another where it does not come any more."""
        now, aim = self._files.counts(), self.aims[len(self._result.kills)]
        if self._may_settle and now.n_tiles < self._files.n_tiles:
            return SETTLE
        has_bands, has_tiles = now.n_bands == self._files.n_bands, now.n_tiles >= self._files.n_tiles - 1
        if (aim == START and not is_new) or (aim == INGEST and has_bands) or (aim == INFER and has_tiles):
            return self._rng.choice([MERGE, STAGE, DECIDED, MOVING, AFTER] if has_tiles else [INFER])
        return aim

    def _counts(self, of: int, names: tuple[str, ...]) -> dict[str, int]:
        """Kills so far by phase (`of` 0) or by victim (1)."""
        return {name: sum(n for (victim, phase), n in self._tally.items() if (phase, victim)[of] == name) for name in names}

    def _choose_victim(self, driver: Process, aim: str) -> tuple[str, int]:
        workers = self._own.workers() if self._own else driver.workers()
        alive = {DRIVER: [driver.pid], WORKER: workers, SCHEDULER: [self._own.scheduler] if self._own else []}
        names = [name for name, pids in alive.items() if pids]
        if aim in (MERGE, STAGE, AFTER) and self._rng.random() < 0.8:
            names = [DRIVER]  # it alone publishes
        if aim == INFER and self._setting.allowed_failures == 0 and workers and self._rng.random() < 0.6:
            names = [WORKER]  # what it had is to be settled
        name = self._rarest(names, self._counts(1, VICTIMS))
        return name, self._rng.choice(alive[name])

    def _rarest(self, names: list[str], counts: dict[str, int]) -> str:
        """One of `names` at random, mostly one of those that `counts` has the fewest of."""
        fewest = min(counts[name] for name in names)
        rare = [name for name in names if counts[name] == fewest]
        return self._rng.choice(rare if self._rng.random() < 0.7 else names)

    def _choose_signal(self, victim: str) -> signal.Signals:
        others = [signal.SIGTERM, signal.SIGINT] if victim == DRIVER else [signal.SIGTERM]
        return self._rng.choice(others) if self._rng.random() < 0.15 else signal.SIGKILL

    def _kill(self, driver: Process, aim: str, started: float) -> bool:
        """Send a signal; whether the driver lives on."""
        if aim in (DECIDED, MOVING):  # milliseconds, in which nothing can be looked up first
            victim, pid, number, phase = DRIVER, driver.pid, signal.SIGKILL, aim
        else:
            victim, pid = self._choose_victim(driver, aim)
            number, phase = self._choose_signal(victim), self._files.phase(self._before, self._may_settle)
        if not driver.alive() or not send(pid, number):
            return driver.alive()
        if victim == DRIVER and number == signal.SIGKILL:
            driver.wait(HANG_SECONDS)
            phase = self._files.phase(self._before, self._may_settle)  # now it stands still
        self._result.kills.append(Kill(victim, phase, number.name, time.monotonic() - started))
        self._tally[victim, phase] += 1
        if victim == WORKER and phase == INFER and self._setting.allowed_failures == 0:
            self._may_settle = True
        return victim != DRIVER


def _sleep(seconds: float) -> None:
    """Sleep, or spin where that would be longer than asked for."""
    if seconds > 0.005:
        time.sleep(seconds)
        return
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass
