"""A kind of input whose cases do, by their numbers, what the fuzzer has to catch."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import numpy as np

from surveycnn.errors import InputError, SchemaError
from surveycnn.sky.zeropoints import zeropoint_of

SECONDS, MEMORY_MB = 1.0, 150

CASES = (
    *("result", "error", "hang", "kill", "memory", "swallowed", "write", "native", "foreign", "not_user", "process", "connect"),
    *("code", "unpickle", "exit"),
)


def prepare(seeds: Path) -> None:
    (seeds / "valid").write_text("result")


def valid_cases(seeds: Path, folder: Path) -> list[tuple[str, Path]]:
    return [((seeds / "valid").read_text(), folder)]


def make_case(rng: Random, seeds: Path, folder: Path) -> tuple[str, Path]:
    number = int(folder.name.partition("-")[2])
    return CASES[number % len(CASES)], folder


def run_case(case: tuple[str, Path]) -> str:
    what, folder = case
    return globals().get(f"_{what}", lambda folder: what)(folder) or what


def _error(folder: Path) -> None:
    raise InputError("as it should be")


def _hang(folder: Path) -> None:
    time.sleep(1000)


def _kill(folder: Path) -> None:
    signal.raise_signal(signal.SIGSEGV)


def _memory(folder: Path) -> None:
    np.ones(1 << 30)


def _swallowed(folder: Path) -> None:
    np.ones(200 << 17)


def _write(folder: Path) -> None:
    with open(folder / "within", "w"):
        pass
    try:
        open(folder.parent.parent / "outside", "w")
    except OSError:
        pass


def _native(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"a": [1]}), str(folder / ".." / "beside.parquet"))


def _foreign(folder: Path) -> None:
    zeropoint_of({"BUNIT": "nJy"}, "no number")  # type: ignore[arg-type]


def _not_user(folder: Path) -> None:
    raise SchemaError("a fault of ours")


def _process(folder: Path) -> None:
    subprocess.run([sys.executable, "-c", ""], check=False)


def _connect(folder: Path) -> None:
    socket.getaddrinfo("localhost", 1)


def _code(folder: Path) -> None:
    eval(compile("1 + 1", "<catalog>", "eval"))


def _unpickle(folder: Path) -> None:
    pickle.loads(pickle.dumps(os.getcwd))


def _exit(folder: Path) -> None:
    sys.exit(0)
