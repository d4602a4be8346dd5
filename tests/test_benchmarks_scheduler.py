"""Benchmarks of the scheduling, small."""

from __future__ import annotations

import argparse

import numpy as np
import pytest

from benchmarks.empty_tiles import fit_line, run
from benchmarks.workers import Shape


def test_empty_tiles__run_in_this_process(capsys):
    run(2000, "serial")
    printed = capsys.readouterr().out
    assert "2025 tiles: {'done': 2025}" in printed
    assert "MB per million tiles" in printed


def test_fit_line__leaves_out_what_comes_before_it_settles():
    tiles = np.arange(100) * 1e4
    memory = np.where(tiles < 1e5, 100.0, 300.0) + 5 * tiles / 1e6
    slope, error = fit_line(list(zip(tiles, memory, strict=True)))
    assert slope == pytest.approx(5)
    assert error < 1e-6


def test_shape__refuses_what_is_none():
    assert str(Shape.parse("2x4")) == "2 x 4"
    with pytest.raises(argparse.ArgumentTypeError, match="shape '2' is not workers x threads, such as 2x4"):
        Shape.parse("2")
