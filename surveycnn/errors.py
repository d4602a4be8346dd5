"""The errors that users meet; each ends a command with one message and exit code 2.

Anything that is not a :class:`UserError` is a fault of ours: the command line lets its traceback through (exit code 1).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


class SurveyCNNError(Exception):
    """Base of every error raised on purpose by this package."""


class UserError(SurveyCNNError):
    """Something the user gave is wrong: the message says what was found, what was expected and what to do."""

    def __init__(self, *arguments: object):
        super().__init__(*(printable(one) if isinstance(one, str) else one for one in arguments))


class ConfigError(UserError):
    """A configuration key is unknown, missing or has a value that cannot be used."""


class InputError(UserError):
    """An image, weight map, mask, header or table cannot be used as it is."""


class ModelError(UserError):
    """A model package is missing, incomplete, or does not give the outputs that it promises."""


class ClusterError(UserError):
    """The cluster that was asked for cannot be had on this machine."""


class StorageError(UserError):
    """A folder can no longer be written: its disk is full, the quota is used up, or the permission is gone."""


class CatalogError(UserError):
    """A published catalog is missing or broken, or a query on it cannot be understood."""


class ResumeError(UserError):
    """The work directory belongs to a run with other inputs, settings or models."""


class SchemaError(SurveyCNNError):
    """A table or dataset of ours does not have the columns, types or shapes that its schema promises."""


def printable(text: str) -> str:
    """`text` without passwords, and with all characters written out that would steer a terminal: files of others name things.

    Newlines and tabs stay.

    >>> printable("mosaic" + chr(27) + "[2J") == r"mosaic\\x1b[2J"
    True
    """
    text = without_secrets(text)
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in "\n\t" else one.encode("unicode_escape").decode() for one in text)


def did_you_mean(word: object, known: Iterable[str], *, n: int = 1, cutoff: float = 0.6) -> str:
    """Question with up to `n` of the names in `known` that are spelt like `word`, and a space; empty where none is.

    >>> did_you_mean("lens_porb", ["lens_prob", "z_phot"]), did_you_mean("x", ["lens_prob"])
    ("did you mean 'lens_prob'? ", '')
    """
    near = difflib.get_close_matches(str(word), [str(one) for one in known], n=n, cutoff=cutoff)
    return f"did you mean {' or '.join(map(repr, near))}? " if near else ""


def without_secrets(text: str) -> str:
    """`text` with stars in the place of passwords and signatures in the URLs in it.

    >>> without_secrets("https://me:secret@host/g.fits?X-Amz-Signature=ab12&part=1")
    'https://***@host/g.fits?X-Amz-Signature=***&part=1'
    """
    if "://" not in text:
        return text
    return _TOKEN.sub(r"\1=***", PASSWORD.sub("***@", text))


PASSWORD = re.compile(r"(?<=://)[^/\s:@'\"]*:[^/\s@'\"]*@")
"""User and password before the host of a URL."""
_TOKEN = re.compile(
    r"(?<=[?&])([\w.-]*(?:signature|credential|token|secret|password|key|sig)[\w.-]*)=[^&\s'\"#\\]+", re.IGNORECASE
)
