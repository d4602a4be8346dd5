"""Bytes of an input file: remote and compressed files brought to a local one, and its digest.

Below :mod:`surveycnn.sky.images`, which knows FITS; here a file is bytes.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import fsspec

from surveycnn.errors import InputError
from surveycnn.full_disk import writing_into

_DECOMPRESSORS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open}
_BROKEN = (EOFError, zlib.error, gzip.BadGzipFile)
_BLOCK = 1 << 22
RESERVE_BYTES = 1 << 30
"""Space that copies of input files leave on the disk."""


def is_remote(file: str) -> bool:
    """True for a URL that fsspec has to open (``s3://``, ``https://``)."""
    return "://" in file and not file.startswith("file://")


@contextmanager
def _as_input_error(file: str) -> Iterator[None]:
    """Turn what opening or reading a file can raise into a message."""
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError:
        where = " or cannot be reached" if is_remote(file) else ""
        raise InputError(f"file {file!r} does not exist{where}: correct the path in the configuration") from None
    except (ImportError, ValueError) as error:  # fsspec: a package is missing, or nobody knows the protocol
        if not is_remote(file):
            raise
        advice = "install what its protocol needs, or copy the file"
        raise InputError(f"file {file!r} cannot be opened ({error}): {advice}") from error
    except PermissionError as error:
        raise InputError(f"file {file!r} may not be read ({error.strerror}): correct its permissions") from None
    except (*_BROKEN, OSError) as error:
        raise InputError(f"file {file!r} is damaged or cut short ({error}): fetch it again") from error
    except Exception as error:  # each protocol's library has errors of its own: refused, timed out, ...
        if not is_remote(file):
            raise
        raise InputError(f"file {file!r} cannot be fetched ({error}): check the address and the permissions") from error


@contextmanager
def _byte_stream(file: str) -> Iterator[IO[bytes]]:
    """The stored bytes of `file`, local or remote, as a stream."""
    with _as_input_error(file), fsspec.open(file, "rb") as stream:
        yield stream


def _check_exists(file: str) -> None:
    local = file.removeprefix("file://")
    with _as_input_error(file):
        is_there = is_remote(file) or Path(local).is_file()
    if not is_there:
        raise InputError(f"file {local!r} does not exist: correct the path in the configuration")


def file_stamp(file: str) -> list[int] | None:
    """Size in bytes and time of the last change in ns of a local file; None of one that is not there, or remote."""
    if is_remote(file):
        return None
    try:
        status = Path(file.removeprefix("file://")).stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


def file_sha256(file: str) -> str:
    """SHA-256 of the stored bytes of `file` (compressed files as they are), as hex digits."""
    digest = hashlib.sha256()
    with _byte_stream(file) as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def local_bytes(file: str) -> IO[bytes]:
    """Uncompressed bytes of `file` as a seekable local file.

    A plain local file is opened where it is; a remote or a compressed one is first copied, block by block, into a nameless
    temporary file, so that windows of it can be read at once and memory stays flat.

    Raises
    ------
    InputError
        If the file does not exist, is a folder, or its compressed stream is damaged.
    """
    _check_exists(file)
    if is_plain(file):
        with _as_input_error(file):
            return open(file.removeprefix("file://"), "rb")
    return _copy_of(file, _DECOMPRESSORS.get(Path(file).suffix.lower()))


def is_plain(file: str) -> bool:
    """True for a local file that is not compressed as a whole."""
    return not is_remote(file) and Path(file).suffix.lower() not in _DECOMPRESSORS


def header_bytes(file: str) -> IO[bytes]:
    """Uncompressed bytes of `file` as a seekable stream of which little shall be read; nothing is copied if that can be helped.

    Raises
    ------
    InputError
        If the file does not exist or its beginning is damaged.
    """
    _check_exists(file)
    if is_plain(file):
        return local_bytes(file)
    decompress = _DECOMPRESSORS.get(Path(file).suffix.lower())
    with _as_input_error(file):
        stored: IO[bytes] = fsspec.open(file, "rb").open()
        if not stored.seekable():  # a web server that gives whole files only
            stored.close()
            return _copy_of(file, decompress)
        stream: IO[bytes] = decompress(stored) if decompress else stored
        stream.read(1)
        stream.seek(0)
        return stream


def remote_size(url: str) -> int:
    """Bytes of a remote file; 0 where its server does not tell."""
    with _as_input_error(url):
        fs, path = fsspec.core.url_to_fs(url.partition("[")[0])
        return int(fs.size(path) or 0)


def _copy(file: str, source: IO[bytes], target: IO[bytes], folder: Path) -> None:
    """Copy a stream that may be endless, as long as there is space in `folder`."""
    while block := source.read(_BLOCK):
        if shutil.disk_usage(folder).free < RESERVE_BYTES:
            raise InputError(
                f"file {file!r} is too large once unpacked: no space is left in {str(folder)!r} after {target.tell()} bytes: "
                "unpack it yourself, or set TMPDIR to a folder with more space"
            )
        target.write(block)


def _copy_of(file: str, decompress: Callable[..., Any] | None) -> IO[bytes]:
    """Nameless temporary copy of `file`, open for reading only (astropy refuses a handle that could also write)."""
    with tempfile.NamedTemporaryFile(prefix="surveycnn-", delete=False) as target:
        copy = open(target.name, "rb")
        os.unlink(target.name)  # before anything is in it: a process that is killed leaves nothing
        try:
            with writing_into(tempfile.gettempdir()), _byte_stream(file) as stream:
                _copy(file, decompress(stream) if decompress else stream, target, Path(target.name).parent)
        except BaseException:
            copy.close()
            raise
        return copy
