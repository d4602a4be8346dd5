"""Folders that can no longer be written: which errors become a message, and which stay what they are."""

from __future__ import annotations

import errno
import os

import pytest

from surveycnn.errors import InputError, StorageError
from surveycnn.full_disk import writing_into


def failure(number: int, path: str | None = None) -> OSError:
    return OSError(number, os.strerror(number), path)


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, r"no space is left on its disk \(.* [MG]iB free\): make room there; the same command goes on from here"),
        (errno.EDQUOT, r"the disk quota is used up .*: make room there, or have the quota raised"),
        (errno.EROFS, r"its disk can only be read by now .*: have it mounted for writing again"),
        (errno.EACCES, r"no permission to write by now .*: give the permission back"),
        (errno.EFBIG, r"a file would be larger than is allowed"),
    ],
)
def test_writing_into__says_what_is_wrong_with_a_folder(tmp_path, number, message):
    with (
        pytest.raises(StorageError, match=rf"cannot write into '{tmp_path}/not_there': {message}"),
        writing_into(tmp_path / "not_there"),
    ):
        raise failure(number)


def test_writing_into__finds_the_cause_behind_what_a_library_raises(tmp_path):
    with pytest.raises(StorageError, match="no space is left") as raised, writing_into(tmp_path):
        try:
            raise failure(errno.ENOSPC)
        except OSError as error:
            raise InputError("file 'g.fits.gz' is damaged or cut short") from error
    assert isinstance(raised.value.__cause__, InputError)


def test_writing_into__names_the_folder_that_was_written_where_it_is_another(tmp_path):
    with pytest.raises(StorageError, match=r"cannot write into '/else/where'"), writing_into(tmp_path, alone=False):
        raise failure(errno.ENOSPC, "/else/where/file")


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOENT])
def test_writing_into__leaves_other_errors(tmp_path, number):
    with pytest.raises(OSError, match=os.strerror(number)), writing_into(tmp_path):
        raise failure(number)


def test_writing_into__leaves_a_permission_that_may_be_another_folders(tmp_path):
    with pytest.raises(PermissionError), writing_into(tmp_path, alone=False):
        raise failure(errno.EACCES)


def test_writing_into__leaves_an_input_that_may_not_be_read(tmp_path):
    with pytest.raises(InputError, match="may not be read"), writing_into(tmp_path):
        try:
            raise failure(errno.EACCES)
        except OSError:
            raise InputError("file 'g.fits' may not be read") from None
