"""Bytes of an input file: remote and compressed files brought to a local one, and its digest.

Below :mod:`surveycnn.sky.images`, which knows FITS; here a file is bytes.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
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
from surveycnn.sky.protocols import protocol_of

_DECOMPRESSORS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open}
_BROKEN = (EOFError, zlib.error, gzip.BadGzipFile)
_BLOCK = 1 << 22
_HEADER_BLOCK = 1 << 16
"""Bytes that are asked of a remote file at once while headers are read: the 50 MB of s3fs would often be the whole file."""
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
    except Exception as error:
        message = _remote_fault(file, error) if is_remote(file) else _local_fault(error)
        if message is None:
            raise
        raise InputError(f"file {file!r} {message}") from error


def _local_fault(error: Exception) -> str | None:
    if isinstance(error, FileNotFoundError):
        return "does not exist: correct the path in the configuration"
    if isinstance(error, PermissionError):
        return f"may not be read ({error.strerror}): correct its permissions"
    return f"is damaged or cut short ({error}): fetch it again" if isinstance(error, (*_BROKEN, OSError)) else None


def _remote_fault(url: str, error: Exception) -> str:
    """Each protocol's library has errors of its own: refused, denied, timed out, ..."""
    if isinstance(error, FileNotFoundError):
        which = " (there is no such bucket)" if "bucket" in str(error) else ""
        return f"does not exist or cannot be reached{which}: correct the path in the configuration"
    if isinstance(error, ImportError | ValueError):  # fsspec: a package is missing, or nobody knows the protocol
        return f"cannot be opened ({error}): install {protocol_of(url).package}, or copy the file"
    if isinstance(error, _BROKEN):
        return f"is damaged or cut short ({error}): fetch it again"
    return f"cannot be fetched ({error}): {protocol_of(url).keys}"


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


class FetchedFile(io.BufferedReader):
    """Nameless temporary copy of a file, uncompressed, open for reading."""

    sha256: str
    """Digest of the stored bytes, as :func:`file_sha256` gives it, taken while they were fetched."""


def local_bytes(file: str) -> IO[bytes]:
    """Uncompressed bytes of `file` as a seekable local file.

    A plain local file is opened where it is; a remote or a compressed one is first copied, block by block, into a temporary file
    (:class:`FetchedFile`), so that windows of it can be read at once, memory stays flat, and it is fetched once.

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
        stored: IO[bytes] = _open_stored(file, None if decompress else _HEADER_BLOCK)
        if not stored.seekable():  # a web server that gives whole files only
            stored.close()
            return _copy_of(file, decompress)
        stream: IO[bytes] = decompress(stored) if decompress else stored
        stream.read(1)
        stream.seek(0)
        return stream


def _open_stored(file: str, block_size: int | None) -> IO[bytes]:
    """A file that asks a remote store for `block_size` bytes at a time; None is the choice of the protocol's library."""
    fs, path = fsspec.core.url_to_fs(file)
    stream: IO[bytes] = fs.open(path, "rb", block_size=block_size)
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


class _Hashed:
    """A stream whose bytes are hashed as they are read."""

    def __init__(self, stream: IO[bytes]):
        self._stream, self._digest = stream, hashlib.sha256()

    def read(self, size: int) -> bytes:
        block = self._stream.read(size)
        self._digest.update(block)
        return block

    def sha256(self) -> str:
        """Digest of all bytes; a decompressor may have left some at the end."""
        while self.read(_BLOCK):
            pass
        return self._digest.hexdigest()


def _copy_of(file: str, decompress: Callable[..., Any] | None) -> FetchedFile:
    """Nameless temporary copy of `file`, open for reading only (astropy refuses a handle that could also write)."""
    with tempfile.NamedTemporaryFile(prefix="surveycnn-", delete=False) as target:
        copy = FetchedFile(io.FileIO(target.name))
        os.unlink(target.name)  # before anything is in it: a process that is killed leaves nothing
        try:
            with writing_into(tempfile.gettempdir()), _byte_stream(file) as stream:
                stored: Any = _Hashed(stream)
                _copy(file, decompress(stored) if decompress else stored, target, Path(target.name).parent)
                copy.sha256 = stored.sha256()
        except BaseException:
            copy.close()
            raise
        return copy
