"""The soak sees what it looks for: rows that differ in a bit, what is left over, and where a run is."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from benchmarks.soak import compare
from benchmarks.soak.moments import AFTER, DECIDED, INFER, INGEST, MERGE, MOVING, N_ENTRIES, SETTLE, STAGE, START, Files
from benchmarks.soak.rounds import Round, Setting, _Killer
from surveycnn.catalogs.formats.fits_table import write_fits
from surveycnn.catalogs.publishing.swap import OLD, READY, STAGING


@pytest.mark.parametrize(
    ("rows", "finding"),
    [
        ({"source_id": [1, 2], "flux": [0.5, -0.0]}, None),
        ({"source_id": [1, 2], "flux": [0.5, 0.0]}, "catalog.fits: column 'flux' has other values"),
        ({"source_id": [1, 3], "flux": [0.5, -0.0]}, "catalog.fits: 1 sources lost, 1 new, 0 twice"),
        ({"source_id": [1, 2, 2], "flux": [0.5, -0.0, -0.0]}, "catalog.fits: 0 sources lost, 0 new, 1 twice"),
    ],
)
def test_differences__of_rows(tmp_path, rows, finding):
    for name, columns in (("quiet", {"source_id": [1, 2], "flux": [0.5, -0.0]}), ("killed", rows)):
        (tmp_path / name).mkdir()
        write_fits(pa.table(columns), tmp_path / name / "catalog.fits")
        (tmp_path / name / "provenance.json").write_text(json.dumps({"status": {"seconds": {}, "n_sources": 2}}))
    found = compare.differences(tmp_path / "quiet", tmp_path / "killed")
    assert found == ([finding, "other bytes in catalog.fits"] if finding else [])


def test_differences__of_files_and_status(tmp_path):
    for name in ("quiet", "killed"):
        (tmp_path / name / "work").mkdir(parents=True)
        status = {"seconds": {"read": len(name)}, "n_sources": len(name)}
        (tmp_path / name / "provenance.json").write_text(json.dumps({"status": status}))
    (tmp_path / "quiet" / "work" / "plan.json").touch()
    (tmp_path / "quiet" / "work" / "performance.json").touch()
    (tmp_path / "killed" / ".publish-staging").mkdir()
    left, missing, status = compare.differences(tmp_path / "quiet", tmp_path / "killed")
    assert left == "left over: .publish-staging" and missing == "missing: work/plan.json" and status.startswith("status is")


def test_phase__of_a_run(tmp_path):
    files, work = Files(tmp_path, 1, 4), tmp_path / "work"
    before = files.counts()
    assert files.phase(before, may_settle=False) == START

    def make(*names: str) -> None:
        for name in names:
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            (work / name).touch()

    make("mosaics/a.zarr/image/c/0/0/0")
    assert files.phase(before, may_settle=False) == INGEST
    make(*(f"mosaics/a.zarr/bands/{band}/zarr.json" for band in range(4)), *(f"tiles/a/r{tile}.parquet" for tile in range(2)))
    assert files.phase(before, may_settle=False) == INFER and files.phase(before, may_settle=True) == SETTLE
    make(*(f"tiles/a/r{tile}.parquet" for tile in range(4)))
    assert files.phase(before, may_settle=True) == MERGE
    (tmp_path / STAGING).mkdir()
    assert files.phase(before, may_settle=False) == STAGE
    for number in range(N_ENTRIES):
        (tmp_path / STAGING / str(number)).touch()
    (tmp_path / STAGING).rename(tmp_path / READY)
    assert files.phase(before, may_settle=False) == DECIDED
    (tmp_path / OLD).mkdir()
    assert files.phase(before, may_settle=False) == MOVING
    (tmp_path / READY).rename(tmp_path / "gone")
    (tmp_path / "provenance.json").touch()
    assert files.phase(before, may_settle=False) == AFTER
    assert files.phase(files.counts(), may_settle=False) == START, "what an earlier driver has left is not this one's"


def test_aims__are_spread_over_the_phases_in_the_order_of_a_run():
    tally: Counter[tuple[str, str]] = Counter()
    order = [INGEST, INFER, MERGE, STAGE, DECIDED, MOVING, AFTER]
    for seed in range(12):
        setting = Setting(Path(), Path(), Path(), "local", False, 3, seed, 5, Files(Path("nowhere"), 1, 4))
        aims = _Killer(setting, {}, None, tally, Round("")).aims
        numbers = [order.index(aim) for aim in aims if aim != START]
        assert len(aims) == 5 and numbers == sorted(numbers)
        tally.update(("driver", aim) for aim in aims)
    assert min(tally["driver", phase] for phase in [START, *order]) >= 4


def test_reached__a_moment_within_the_phase(tmp_path):
    files = Files(tmp_path, 1, 4)
    reached = files.reached(INFER, files.counts(), random.Random(1))
    assert not reached()
    (tmp_path / "work" / "tiles" / "a").mkdir(parents=True)
    for tile in range(3):
        (tmp_path / "work" / "tiles" / "a" / f"r{tile}.parquet").touch()
    assert reached()
