"""``surveycnn completion``: the script that makes a shell complete commands, options and files."""

from __future__ import annotations

import argparse


def run(arguments: argparse.Namespace) -> int:
    """Print the script of a shell."""
    import shtab

    print(shtab.complete(arguments.all_commands, arguments.shell))
    return 0
