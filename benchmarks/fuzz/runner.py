"""Drives the children: gives each a share of the cases, kills one that hangs, and goes on behind the case that it died of."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.fuzz.child import READY, ROOT, ours_in_dump

START_SECONDS = 300.0
"""A child may take for imports and valid cases."""
GRACE = 4.0
"""Limits of a case after which it is ended by force: the limit is of CPU seconds, and others may be at work on the machine."""


@dataclass
class Failure:
    """One class of failures: those of a sort at a place."""

    word: str
    place: str
    text: str
    cases: list[int] = field(default_factory=list)


@dataclass
class Tally:
    """What became of the cases of a kind."""

    kind: str
    seed: int
    cases: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    words: Counter[str] = field(default_factory=Counter)
    """Outcomes with their words."""
    failures: dict[tuple[str, str], Failure] = field(default_factory=dict)
    warnings: Counter[str] = field(default_factory=Counter)
    slowest: tuple[float, int] = (0.0, -1)
    """Seconds and number of a case."""
    peak_mb: tuple[float, int] = (0.0, -1)
    seconds: float = 0.0

    def add(self, record: dict[str, Any]) -> bool:
        """Count one case; True for the first failure of its class."""
        self.cases += 1
        self.outcomes[record["outcome"]] += 1
        self.words[f"{record['outcome']} {record['word']}".strip()] += 1
        self.warnings.update(record.get("warnings", ()))
        self.slowest = max(self.slowest, (record["seconds"], record["case"]))
        self.peak_mb = max(self.peak_mb, (record["peak_mb"], record["case"]))
        if record["outcome"] != "failure":
            return False
        key = record["word"], record.get("place", "")
        self.failures.setdefault(key, Failure(*key, record["text"])).cases.append(record["case"])
        return len(self.failures[key].cases) == 1


def run_kind(
    kind: str, seed: int, cases: range, jobs: int = 1, keep: bool = False, folder: Path | None = None, progress: bool = False
) -> Tally:
    """Run `cases` of a kind in `jobs` children at a time."""
    tally, lock, started = Tally(kind, seed), threading.Lock(), time.perf_counter()
    with _folder(folder, keep) as place:

        def drive(share: range) -> None:
            for record in _records(kind, seed, share, Path(place), keep):
                with lock:
                    is_new = tally.add(record)
                    if progress and is_new:
                        print(
                            f"{kind}: case {record['case']} failed: {record['word']} {record['text'][:300]}",
                            file=sys.stderr,
                            flush=True,
                        )
                    if progress and tally.cases % 1000 == 0:
                        print(f"{kind}: {tally.cases} cases, {dict(tally.outcomes)}", file=sys.stderr, flush=True)

        with ThreadPoolExecutor(jobs) as pool:
            futures = []
            for number in range(min(jobs, len(cases))):
                futures.append(pool.submit(drive, cases[number::jobs]))
                while not (futures[0].done() or (Path(place) / READY).exists()):  # which the first child makes
                    time.sleep(0.1)
            for future in futures:
                future.result()
    tally.seconds = time.perf_counter() - started
    return tally


@contextmanager
def _folder(parent: Path | None, keep: bool) -> Iterator[str]:
    if parent is not None:
        parent.mkdir(parents=True, exist_ok=True)
    place = tempfile.mkdtemp(prefix="surveycnn-fuzz-", dir=parent)
    try:
        yield place
    finally:
        if keep:
            print(f"files: {place}")
        else:
            shutil.rmtree(place, ignore_errors=True)


def _records(kind: str, seed: int, share: range, folder: Path, keep: bool) -> Iterator[dict[str, Any]]:
    """Records of all cases of a share, from as many children as it takes."""
    left = share
    while left:
        last: int | None = None
        with _Process(kind, seed, left, folder, keep) as process:
            for record in process.records():
                if "case" in record:
                    last = record["case"]
                    yield record
        if last is None:
            raise RuntimeError(f"{kind}: the child ended before its first case:\n{process.output()[-3000:]}")
        left = left[left.index(last) + 1 :]


class _Process:
    """One child and what it tells."""

    def __init__(self, kind: str, seed: int, share: range, folder: Path, keep: bool):
        self._folder, self._printed = folder, ""
        self._read, write = os.pipe()
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(ROOT), *(path for path in sys.path if path)]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "DO_NOT_TRACK": "1",
        }
        command = [sys.executable, "-m", "benchmarks.fuzz.child", kind, str(seed), str(folder), str(write)]
        command += [str(share.start), str(share.stop), str(share.step), *(["--keep"] if keep else [])]
        self._output = None if keep else open(folder / f"output-{share.start}.txt", "w+b")
        self._child = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            pass_fds=[write],
            stdout=self._output,
            stderr=self._output,
            stdin=subprocess.DEVNULL,
        )
        os.close(write)

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, *exc: object) -> None:
        self._child.kill()
        self._child.wait()
        os.close(self._read)
        if self._output is not None:
            self._printed = self.output()
            self._output.close()

    def output(self) -> str:
        """What the child has printed."""
        if self._output is None or self._output.closed:
            return self._printed
        self._output.seek(0)
        return self._output.read().decode("utf-8", "replace")

    def records(self) -> Iterator[dict[str, Any]]:
        """One record for each case that ran, the last perhaps of its violent end."""
        number, limit = None, START_SECONDS
        while True:
            line = self._line(limit)
            if not line:
                break
            record = json.loads(line)
            if "ready" in record:
                seconds = record["seconds"]
            elif "begin" in record:
                number, limit, started = record["begin"], GRACE * seconds, time.monotonic()
            elif "case" in record:
                number, limit = None, START_SECONDS
                yield record
            elif record["seeds_changed"]:
                raise RuntimeError("a case has changed the seeds, from which all others are made")
        if number is not None:
            yield {
                "case": number,
                "outcome": "failure",
                "seconds": time.monotonic() - started,
                "peak_mb": 0.0,
                **self._end(line is None),
            }

    def _line(self, seconds: float) -> bytes | None:
        """The next line, empty where the child has ended, None where it said nothing in time."""
        line, deadline = b"", time.monotonic() + seconds
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([self._read], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                return None
            byte = os.read(self._read, 1)
            if not byte:
                return b""
            line += byte
        return line

    def _end(self, hangs: bool) -> dict[str, Any]:
        """What a child died of."""
        self._child.kill() if hangs else None
        code = self._child.wait()
        traces = sorted(self._folder.glob(f"box-{self._child.pid}.trace"))
        dump = traces[0].read_text(encoding="utf-8", errors="replace") if traces else ""
        text = "hangs" if hangs else f"the process ended with code {code}"
        return {
            "word": "hang" if hangs else "crash",
            "place": ours_in_dump(dump),
            "text": f"{text}\n{(dump or self.output())[-2500:]}",
        }
