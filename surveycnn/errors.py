"""The errors that users meet; each ends a command with one message and exit code 2.

Anything that is not a :class:`UserError` is a fault of ours: the command line lets its traceback through (exit code 1).
"""


class SurveyCNNError(Exception):
    """Base of every error raised on purpose by this package."""


class UserError(SurveyCNNError):
    """Something the user gave is wrong: the message says what was found, what was expected and what to do."""

    def __str__(self) -> str:
        return printable(super().__str__())


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
    """`text` with all characters but newlines and tabs written out that would steer a terminal: files of others name things.

    >>> printable("mosaic" + chr(27) + "[2J") == r"mosaic\\x1b[2J"
    True
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in "\n\t" else one.encode("unicode_escape").decode() for one in text)
