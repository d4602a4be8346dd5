"""Files of a folder of results: written whole, never over those of somebody else, and forgotten on demand."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from surveycnn.errors import ConfigError


def write_files(folder: Path, writers: Mapping[str, Callable[[Path], Any]]) -> None:
    """Write each file of `folder` under a temporary name and rename it; a writer takes the path."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, write in writers.items():
        temporary = folder / f".part.{name}"  # some writers look at the suffix
        write(temporary)
        os.replace(temporary, folder / name)


def check_output(folder: Path, record: str, written: Iterable[str], what: str) -> None:
    """Raise ConfigError where `folder` holds files of the names `written` without the file `record`, which goes with them."""
    foreign = [] if (folder / record).is_file() else [name for name in written if (folder / name).exists()]
    if foreign:
        raise ConfigError(
            f"key 'output': {str(folder)!r} holds {', '.join(foreign)}, which no {what} has written (no {record}): "
            "give another folder"
        )


def forget(folder: Path, patterns: Iterable[str]) -> None:
    """Remove the files and folders below `folder` whose names match, and nothing else."""
    for pattern in patterns:
        for path in list(folder.glob(pattern)):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
