"""Disks that are full, quotas used up, folders that can no longer be written: one message instead of a failure a tile."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from surveycnn.errors import StorageError, UserError

_FULL = {
    errno.ENOSPC: ("no space is left on its disk", "make room there"),
    errno.EDQUOT: ("the disk quota is used up", "make room there, or have the quota raised"),
    errno.EFBIG: ("a file would be larger than is allowed", "raise the limit on the size of files"),
    errno.EROFS: ("its disk can only be read by now", "have it mounted for writing again"),
}
_CLOSED = {
    errno.EACCES: ("no permission to write by now", "give the permission back"),
    errno.EPERM: ("no permission to write by now", "give the permission back"),
}


@contextmanager
def writing_into(folder: Path | str, *, alone: bool = True) -> Iterator[None]:
    """Turn what a write into `folder` raises where nothing can be written there into a message.

    Parameters
    ----------
    alone
        Whether the body writes into this folder alone; else a missing permission may be another folder's, and is left as it is.

    Raises
    ------
    StorageError
        Says which folder, how much is free, and what to do. The libraries between us and the disk may have raised something else
        because of it.
    """
    try:
        yield
    except StorageError:
        raise
    except Exception as error:
        found = _cause(error, _FULL | (_CLOSED if alone and not isinstance(error, UserError) else {}))
        if found is None:
            raise
        named = isinstance(found.filename, str) and os.path.isabs(found.filename) and not alone
        what, advice = (_FULL | _CLOSED)[found.errno or 0]
        where = os.path.dirname(found.filename) if named else str(folder)
        raise StorageError(
            f"cannot write into {where!r}: {what} ({_free(where)} free): {advice}; the same command goes on from here"
        ) from error


def _cause(error: BaseException | None, numbers: dict[int, tuple[str, str]]) -> OSError | None:
    """The error with one of these numbers in the chain that has led to `error`."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, OSError) and error.errno in numbers:
            return error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None


def _free(folder: str) -> str:
    """Free bytes of the disk of `folder`, for people."""
    existing = next(path for path in (Path(folder), *Path(folder).absolute().parents) if path.exists())
    n_bytes = shutil.disk_usage(existing).free
    return f"{n_bytes / 2**30:.1f} GiB" if n_bytes >= 2**30 else f"{n_bytes / 2**20:.1f} MiB"
