"""The process in which cases run, many one after another; it tells its parent about each, and dies without harm.

``python -m benchmarks.fuzz.child KIND SEED FOLDER PIPE START STOP STEP [--keep]``; `FOLDER` holds ``seeds`` and a box.
"""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

from benchmarks.fuzz.guard import Guard
from benchmarks.fuzz.kinds import Kind, chance, limits, load_kind
from surveycnn.errors import SurveyCNNError, UserError

ROOT = Path(__file__).resolve().parents[2]
OURS = tuple(str(ROOT / name) + os.sep for name in ("surveycnn", "catalogs", "flows"))
READY = "ready"
"""Says in the folder of a run that the seeds are there."""
FILE_BYTES = 256 << 20
"""Size of a file that a case may write."""
_MB = 1 << 20


class Child:
    """Runs cases of a kind in a box: a folder with one folder, that of the case."""

    def __init__(self, kind: Kind, name: str, seed: int, seeds: Path, box: Path):
        self._kind, self._name, self._seed, self._seeds, self._box = kind, name, seed, seeds, box
        self.seconds, self._memory_mb = limits(kind)
        self._guard = Guard(getattr(kind, "ALLOWED", ()))
        self._log = open(box.with_suffix(".trace"), "w+", encoding="utf-8")
        faulthandler.enable(self._log)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, resource.RLIM_INFINITY))

    def warm_up(self) -> None:
        """Run the valid cases, outside of limits and guard."""
        folder = self._empty("valid")
        for case in self._kind.valid_cases(self._seeds, folder):
            os.chdir(folder)
            self._kind.run_case(case)
        self._drop(folder)

    def run(self, number: int, keep: bool = False) -> dict[str, Any]:
        """Record of one case: its outcome ("result", "error" of ours, "failure"), time and memory."""
        folder = self._empty(f"case-{number}")
        around = sorted(os.listdir(self._box))
        record: dict[str, Any] = {"case": number}
        before = _memory_mb("VmRSS")
        _reset_peak()
        virtual = int(_memory_mb("VmSize") + 2 * self._memory_mb) * _MB
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                case = self._kind.make_case(chance(self._name, self._seed, number), self._seeds, folder)
            except UserError as error:
                self._drop(folder)
                return record | {"outcome": "error", "word": type(error).__name__, "seconds": 0.0, "peak_mb": 0.0}
            if keep:
                print(f"case {case!r}", flush=True)
            faulthandler.dump_traceback_later(self.seconds, file=self._log)
            resource.setrlimit(resource.RLIMIT_AS, (virtual, resource.RLIM_INFINITY))
            started = time.process_time()
            with self._guard.watching(folder):
                record |= self._outcome(case, keep)
            record["seconds"] = time.process_time() - started
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            faulthandler.cancel_dump_traceback_later()
        record["peak_mb"] = max(0.0, _memory_mb("VmHWM") - before)
        record["warnings"] = sorted({_warning(found) for found in caught})
        record |= self._excess(record, around)
        os.chdir(self._box)
        if not keep:
            self._drop(folder)
        return record

    def _outcome(self, case: object, keep: bool) -> dict[str, Any]:
        try:
            return {"outcome": "result", "word": self._kind.run_case(case) or ""}
        except UserError as error:
            if keep:
                print(f"{type(error).__name__}: {error}", flush=True)
            return {"outcome": "error", "word": type(error).__name__}
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:
            if keep:
                traceback.print_exc(limit=-40)
            what = "not a UserError: " if isinstance(error, SurveyCNNError) else ""
            text = f"{what}{type(error).__name__}: {_printable(error)}"
            return {"outcome": "failure", "word": type(error).__name__, "place": place_of(error), "text": text}

    def _excess(self, record: dict[str, Any], around: list[str]) -> dict[str, Any]:
        """A failure where the case went beyond a limit, whatever it ended in."""
        new = sorted(set(os.listdir(self._box)) ^ set(around))
        if self._guard.found or new:
            text = "; ".join(self._guard.found[:3]) or f"changed beside its folder: {', '.join(new)}"
            return {"outcome": "failure", "word": "reached out", "place": text.partition(" ")[0], "text": text}
        if record["peak_mb"] > self._memory_mb:
            place = record.get("place", "")
            return {"outcome": "failure", "word": "memory", "place": place, "text": f"took {record['peak_mb']:.0f} MB"}
        if record["seconds"] > self.seconds:
            place = ours_in_dump(self.dump())
            return {"outcome": "failure", "word": "slow", "place": place, "text": f"took {record['seconds']:.1f} s"}
        return {}

    def dump(self) -> str:
        """What faulthandler has written."""
        self._log.seek(0)
        return self._log.read()

    def _empty(self, name: str) -> Path:
        folder = self._box / name
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "tmp").mkdir(parents=True)
        tempfile.tempdir = str(folder / "tmp")
        os.chdir(folder)
        return folder

    def _drop(self, folder: Path) -> None:
        os.chdir(self._box)
        shutil.rmtree(folder, ignore_errors=True)


def place_of(error: BaseException) -> str:
    """Innermost line of ours in the traceback of an exception, or the innermost of all."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if frame.filename.startswith(OURS)]
    frame = (ours or frames)[-1]
    return f"{frame.filename.removeprefix(str(ROOT) + os.sep)}:{frame.lineno} {frame.name}"


def ours_in_dump(text: str) -> str:
    """Innermost line of ours in what faulthandler wrote, the most recent call first."""
    for line in text.splitlines():
        name = line.strip().removeprefix('File "')
        if name.startswith(OURS):
            return name.removeprefix(str(ROOT) + os.sep).replace('", line ', ":").replace(" in ", " ")
    return ""


def _printable(error: BaseException) -> str:
    """First 300 characters of an exception's text, which may itself fail to be made."""
    try:
        text = str(error)
    except Exception as again:
        text = f"(its text raises {type(again).__name__})"
    return text.encode("utf-8", "backslashreplace").decode()[:300]


def _warning(found: warnings.WarningMessage) -> str:
    name = os.path.relpath(found.filename, ROOT) if found.filename.startswith(OURS) else os.path.basename(found.filename)
    return f"{found.category.__name__} {name}:{found.lineno}"


def _memory_mb(key: str) -> float:
    with open("/proc/self/status", encoding="ascii") as stream:
        return next(float(line.split()[1]) / 1024 for line in stream if line.startswith(key))


def _reset_peak() -> None:
    with open("/proc/self/clear_refs", "w", encoding="ascii") as stream:
        stream.write("5")


def main(argv: list[str]) -> int:
    """Run the cases of a range, one line to the parent before and after each."""
    name, seed, folder, pipe, start, stop, step = argv[:7]
    keep = "--keep" in argv
    box = Path(folder) / f"box-{os.getpid()}"
    box.mkdir(parents=True)
    os.fsync = lambda descriptor: None  # type: ignore[assignment]  # a case need not outlive the machine
    kind = load_kind(name)

    def tell(record: dict[str, Any]) -> None:
        os.write(int(pipe), (json.dumps(record) + "\n").encode())

    seeds = Path(folder) / "seeds"
    if not (Path(folder) / READY).exists():
        seeds.mkdir()
        kind.prepare(seeds)
        (Path(folder) / READY).touch()
    child = Child(kind, name, int(seed), seeds, box)
    child.warm_up()
    stamps = _stamps(seeds)
    tell({"ready": True, "seconds": child.seconds})
    for number in range(int(start), int(stop), int(step)):
        tell({"begin": number})
        tell(child.run(number, keep))
    tell({"end": True, "seeds_changed": _stamps(seeds) != stamps})
    return 0


def _stamps(folder: Path) -> list[tuple[str, int, int]]:
    return sorted((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
