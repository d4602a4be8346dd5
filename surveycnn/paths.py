"""Paths as users write them: cfitsio-style brackets, and URLs for fsspec."""

from __future__ import annotations

import re

from surveycnn.errors import PASSWORD, without_secrets

_BRACKETS = re.compile(r"^(?P<file>.+)\[(?P<hdu>[^\[\]]+)\]$")


def split_path(path: str) -> tuple[str, int | str | None]:
    """File and HDU (number, EXTNAME or None) of a path in cfitsio style.

    >>> split_path("deep/r.fits[1]"), split_path("r.fits[SCI]"), split_path("r.fits")
    (('deep/r.fits', 1), ('r.fits', 'SCI'), ('r.fits', None))
    """
    match = _BRACKETS.match(str(path))
    if match is None:
        return str(path), None
    hdu = match["hdu"].strip()
    return match["file"], int(hdu) if hdu.isdigit() else hdu


def is_url(path: str) -> bool:
    """Whether `path` is an fsspec URL such as ``s3://bucket/key``, as against a local path.

    >>> is_url("s3://bucket/g.fits"), is_url("g.fits[1]")
    (True, False)
    """
    return re.match(r"[a-z][a-z0-9+.-]*://", path) is not None


def check_is_folder(path: str) -> str:
    """`path`; a ValueError where it is a URL: files of results are renamed when they are complete, which buckets cannot."""
    if is_url(path):
        raise ValueError(
            f"{without_secrets(path)!r} is a URL, but results go to a file system that all workers share: give a folder, and "
            "copy the catalog to the bucket when it is complete"
        )
    return path


def check_no_password(path: str | None) -> str | None:
    """`path`; a ValueError where it is a URL with a user's password, which would be written beside the results."""
    if path is not None and PASSWORD.search(path):
        raise ValueError("the URL has a password in it: leave it to the environment, ~/.netrc or the configuration of fsspec")
    return path
