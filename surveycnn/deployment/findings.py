"""What a check of a machine or a file has found: one line each, with what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One line about a machine or a file."""

    kind: Literal["ok", "missing", "wrong", "note"]
    """``missing`` things keep a target from being used, ``wrong`` files cannot be used anywhere, a ``note`` is good to know."""
    text: str
    advice: str = ""
    """What to do; empty where nothing is to be done."""

    def line(self) -> str:
        """For people.

        >>> Finding("missing", "sbatch is not on the PATH", "log in to a node of the cluster").line()
        'missing  sbatch is not on the PATH: log in to a node of the cluster'
        """
        return f"{self.kind:<8} {self.text}" + (f": {self.advice}" if self.advice else "")

    def as_dict(self) -> dict[str, str]:
        """Plain values for JSON."""
        return {"kind": self.kind, "text": self.text, "advice": self.advice}


def is_ready(findings: Iterable[Finding]) -> bool:
    """Whether nothing is missing and nothing is wrong."""
    return all(finding.kind in ("ok", "note") for finding in findings)
