"""The page of any catalog: what it says, what it leaves out, and that nothing in a catalog becomes part of the page."""

from __future__ import annotations

import argparse
import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pytest
from astropy.table import Table
from mocpy import MOC
from tiny_models import change_prior, write_tiny_models

from surveycnn.catalogs.publishing.publish import publish
from surveycnn.catalogs.query import open_catalog
from surveycnn.catalogs.verify import verify_catalog
from surveycnn.commands.report import chunks_of, run
from surveycnn.errors import CatalogError, InputError
from surveycnn.models.package import find_card
from surveycnn.report.report import write_report

HOSTILE = "</script><img src=x onerror=alert(1)><b>&'\"{{ 7*7 }}"


class Elements(HTMLParser):
    """Elements of a page with their attributes, and the texts of scripts."""

    def __init__(self, page: str):
        super().__init__()
        self.found, self.scripts, self._inside = [], [], False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self._inside = tag == "script"

    def handle_endtag(self, tag):
        self._inside = False

    def handle_data(self, text):
        if self._inside:
            self.scripts.append(text)

    @property
    def data(self):
        return json.loads(self.scripts[0])


def page_of(path, output, **options):
    return write_report(path, output, **options).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(small_run, tmp_path_factory) -> str:
    return page_of(small_run, tmp_path_factory.mktemp("report") / "r.html", open_chunks=chunks_of(small_run))


@pytest.fixture
def rows(small_run) -> pa.Table:
    return open_catalog(small_run).to_arrow()


def published(rows, folder, **provenance):
    return publish(rows, folder, formats=("hats",), provenance=provenance)


def test_page__has_everything_inside(page):
    elements = Elements(page)
    links = [value for _, attributes in elements.found for name, value in attributes.items() if name in ("href", "src", "action")]
    assert links and all(link.startswith("#") for link in links)
    (policy,) = [a["content"] for tag, a in elements.found if a.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert not [a for _, a in elements.found if "style" in a or any(name.startswith("on") for name in a)]
    assert len(page) < 5_000_000


def test_page__candidates_have_pictures_scores_and_pdfs(page, small_run):
    data = Elements(page).data
    assert [ranking["name"] for ranking in data["rankings"]] == ["lens", "merger", "unusual"]
    assert all(source["picture"].startswith("data:image/webp;base64,") for source in data["sources"])
    first = data["sources"][data["rankings"][0]["members"][0]["n"]]
    best = open_catalog(small_run).where("is_primary and not has_flag('outside_domain_lens')").top(1, by="lens_logit").to_pandas()
    assert first["id"] == str(best["source_id"][0])
    assert first["lens_prob"] == pytest.approx(best["lens_prob"][0], rel=1e-3)
    assert first["mags"]["r"] == pytest.approx(31.4 - 2.5 * np.log10(best["flux_r"][0]), abs=0.006)
    assert sum(weight for weight, _, _ in first["pdf"]) == pytest.approx(1, abs=0.01)


def test_page__says_what_the_run_says(page, small_run):
    text = re.sub(r"<[^>]+>", " ", page.split("<main")[1])
    assert f"{len(open_catalog(small_run)):,}" in text
    for expected in (
        "arcmin²",
        "n(z)",
        "Lens reliability",
        "Merger reliability",
        "lens 0.2.0",
        "photoz 0.2.0",
        "outside_domain_merger",
        "computed and published",
        "zarr",
    ):
        assert expected in text


def test_page__same_catalog_same_bytes(small_run, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(small_run, moved)
    one = write_report(moved, open_chunks=chunks_of(moved)).read_bytes()
    assert one == write_report(moved, open_chunks=chunks_of(moved)).read_bytes()
    assert verify_catalog(moved) == []  # the page is no part of what the digests are of


def test_page__without_work_directory(small_run, tmp_path):
    shutil.copytree(small_run, tmp_path / "c", ignore=shutil.ignore_patterns("work"))
    provenance = json.loads((tmp_path / "c" / "provenance.json").read_text())
    provenance["config"]["work_dir"] = str(tmp_path / "gone")
    (tmp_path / "c" / "provenance.json").write_text(json.dumps(provenance))
    page = page_of(tmp_path / "c", None, open_chunks=chunks_of(tmp_path / "c"))
    assert "No pictures: the work directory" in page and "is gone" in page
    assert all(source["picture"] is None for source in Elements(page).data["sources"])


def test_page__work_directory_of_another_run(small_run, tmp_path):
    shutil.copytree(small_run, tmp_path / "c")
    provenance = json.loads((tmp_path / "c" / "provenance.json").read_text())
    (tmp_path / "c" / "provenance.json").write_text(json.dumps(provenance | {"run_digest": "0" * 64}))
    assert "belongs to another run" in page_of(tmp_path / "c", None, open_chunks=chunks_of(tmp_path / "c"))


def test_page__nothing_of_a_catalog_becomes_part_of_it(rows, tmp_path):
    names = pa.array([HOSTILE] * rows.num_rows).cast(rows.schema.field("mosaic").type)
    hostile = rows.set_column(rows.schema.names.index("mosaic"), rows.schema.field("mosaic"), names)
    tree = {
        "config": {"name": HOSTILE, "work_dir": HOSTILE, HOSTILE: HOSTILE},
        "inputs": {HOSTILE: {HOSTILE: {"path": HOSTILE, "sha256": HOSTILE}}},
        "models": {HOSTILE: {"task": HOSTILE, "reference": "../" * 9 + "etc", "version": HOSTILE}},
        "status": {
            "tiles": {"failed": 1},
            "problems": [{"mosaic": HOSTILE, "tile": HOSTILE, "state": "failed", "reason": HOSTILE}],
        },
        "skipped_models": {HOSTILE: {HOSTILE: HOSTILE}},
        "versions": {HOSTILE: HOSTILE},
        "run_digest": HOSTILE,
    }
    folder = published(hostile, tmp_path / "c", **tree)
    page = page_of(folder, None, open_chunks=chunks_of(folder))
    elements = Elements(page)
    assert not [tag for tag, _ in elements.found if tag == "img"]
    assert len([tag for tag, _ in elements.found if tag == "script"]) == 2
    assert HOSTILE not in page
    assert elements.data["name"] == HOSTILE  # as data alone


@pytest.mark.parametrize(
    "tree",
    [
        {"config": [], "inputs": 3, "models": None, "status": {"tiles": [], "problems": {"a": 1}}, "performance": "fast"},
        {"performance": {"seconds": {"total": "x"}, "slowdown": True, "workers": {"efficiency": None}}, "skipped_models": []},
        {
            "inputs": {"m": ["g"]},
            "models": {"lens": "lens"},
            "status": {"problems": [1, {"reason": None}], "tiles": {"done": -1}},
        },
    ],
)
def test_page__provenance_of_other_shapes(rows, tmp_path, tree):
    assert "Candidates" in page_of(published(rows, tmp_path / "c", **tree), None)


def test_page__provenance_that_is_no_json(rows, tmp_path):
    folder = published(rows, tmp_path / "c")
    (folder / "provenance.json").write_text("{")
    assert "cannot be read" in page_of(folder, None)


@pytest.mark.parametrize(
    ("drop", "says", "not_says"),
    [
        (("merger_", "morph_", "z_", "pz_"), "The catalog has no redshifts", "merger_logit"),
        (("lens_", "merger_", "morph_"), "There are no candidates", "lens_logit"),
        (("flux_", "lens_", "merger_", "morph_", "z_", "pz_"), "No model has left columns", "Number counts"),
        (("flux_g", "flux_err_g", "flux_aper_g", "flux_aper_err_g"), "n(z)", "bands g"),
        (("flags", "is_primary"), "The catalog has no flags", "each object once"),
        (("source_id",), "There are no candidates", "kept in"),
    ],
)
def test_page__columns_that_are_not_there(rows, tmp_path, drop, says, not_says):
    kept = rows.select([name for name in rows.schema.names if not name.startswith(drop)])
    folder = tmp_path / "hats_of_others"
    write_foreign(kept, folder)
    page = page_of(folder, None)
    assert says in page and not_says not in page.split("<script")[0]


def write_foreign(rows, folder):
    """A HATS catalog as another tool writes it: no provenance, no coverage."""
    import pyarrow.parquet as pq

    leaf = folder / "dataset" / "Norder=0" / "Dir=0"
    leaf.mkdir(parents=True)
    pq.write_table(rows, leaf / "Npix=4.parquet")
    pq.write_metadata(rows.schema, folder / "dataset" / "_common_metadata")
    (folder / "hats.properties").write_text("hats_col_ra=ra\nhats_col_dec=dec\ndataproduct_type=object\n")


def test_page__columns_of_other_kinds(rows, tmp_path):
    table = pa.table(
        {
            "ra": rows["ra"],
            "dec": rows["dec"],
            "source_id": rows["source_id"].cast(pa.string()),
            "flags": pa.array(["none"] * rows.num_rows),
            "is_primary": pa.array([1] * rows.num_rows),
            "lens_logit": pa.array([[1.0]] * rows.num_rows),
            "pz_weight": pa.array([1.0] * rows.num_rows),
            "flux_r": pa.array(["bright"] * rows.num_rows),
            "mosaic": pa.array([7] * rows.num_rows),
        }
    )
    write_foreign(table, tmp_path / "c")
    assert "There are no candidates" in page_of(tmp_path / "c", None)


def test_page__numbers_of_other_ranges(rows, tmp_path):
    n = rows.num_rows
    wild = np.resize([np.nan, np.inf, -np.inf, 1e300, -1e300, 0.0, 1e9], n)
    columns = {
        name: pa.array(wild) for name in ("flux_r", "flux_err_r", "lens_logit", "lens_prob", "flux_radius", "x", "y", "z_phot")
    }
    columns |= {"z_phot_lo": pa.array(wild), "z_phot_hi": pa.array(-wild), "lens_domain": pa.array(wild)}
    columns |= {"ra": pa.array(np.resize([np.nan, 1e9, -10.0, 10.0], n)), "dec": pa.array(np.resize([np.nan, 95.0, 45.0], n))}
    columns |= {"source_id": pa.array([None, *range(1, n)]), "flags": pa.array([None, *[-1.0] * (n - 1)])}
    columns |= {"mosaic": pa.array([None, *["a"] * (n - 1)]), "is_primary": pa.array([None, *[True] * (n - 1)])}
    columns |= {
        name: pa.FixedSizeListArray.from_arrays(np.resize(wild, 2 * n), 2) for name in ("pz_weight", "pz_mean", "pz_sigma")
    }
    write_foreign(pa.table(columns), tmp_path / "c")
    assert "Candidates" in page_of(tmp_path / "c", None)


def test_page__card_of_a_model_of_the_user_while_it_is_the_same(rows, tmp_path):
    lens, _ = write_tiny_models(tmp_path)
    models = {"tiny-lens": {"task": "lens", "reference": str(lens), "digest": find_card(lens).digest}}
    catalog = published(rows, tmp_path / "catalog", models=models)
    assert "tiny-lens 1" in write_report(catalog).read_text(encoding="utf-8")
    change_prior(lens, 0.25)
    page = write_report(catalog).read_text(encoding="utf-8")
    assert "tiny-lens 1" not in page and "Lens scores" in page


def test_page__no_candidates_asked_for(small_run, tmp_path):
    data = Elements(page_of(small_run, tmp_path / "r.html", n_top=0)).data
    assert data["sources"] == [] and all(ranking["members"] == [] for ranking in data["rankings"])


def test_page__coverage_that_is_empty(rows, tmp_path):
    folder = publish(rows, tmp_path / "c", formats=("hats",), coverage=MOC.new_empty(10))
    assert "There are no positions to draw" in page_of(folder, None)


def test_page__no_rows(rows, tmp_path):
    page = page_of(published(rows.slice(0, 0), tmp_path / "c"), None)
    assert "There are no positions to draw" in page and Elements(page).data["sources"] == []


def test_page__truth(small_run, rows, tmp_path):
    z = np.asarray(rows["z_phot"]) + np.random.default_rng(4).normal(0, 0.02, rows.num_rows)
    kind = np.where(np.arange(rows.num_rows) < 5, "lens", "galaxy")
    Table({"ra": rows["ra"], "dec": rows["dec"], "z_spec": z, "kind": kind}).write(tmp_path / "truth.fits")
    page = page_of(small_run, tmp_path / "r.html", truth=tmp_path / "truth.fits")
    assert "PIT" in page and "Redshifts against the truth" in page and "truth.fits" in page
    assert {source["truth"] for source in Elements(page).data["sources"]} <= {"lens", "galaxy", None}
    n = sum(1 for one, primary in zip(z, rows["is_primary"].to_pylist(), strict=True) if one > 0 and primary)
    assert int(re.search(r"<th scope=\"row\">all</th><td class=\"num\">(\d+)</td>", page).group(1)) == n


@pytest.mark.parametrize(
    ("truth", "message"),
    [("none.fits", "there is no file"), ("bare.csv", "has no column of redshifts"), ("broken.fits", "cannot read the table")],
)
def test_truth__that_is_none(small_run, tmp_path, truth, message):
    Table({"ra": [1.0], "dec": [2.0], "name": ["a"]}).write(tmp_path / "bare.csv")
    (tmp_path / "broken.fits").write_bytes(b"SIMPLE")
    with pytest.raises((CatalogError, InputError), match=message):
        page_of(small_run, tmp_path / "r.html", truth=tmp_path / truth)
    assert not (tmp_path / "r.html").exists()


def test_command__writes_beside_the_catalog(rows, tmp_path, capsys):
    folder = published(rows, tmp_path / "c", config={"name": "mine"})
    assert run(argparse.Namespace(catalog=str(folder), output=None, truth=None, top=5)) == 0
    assert str(folder / "report.html") in capsys.readouterr().out
    assert "<title>mine: survey report</title>" in (folder / "report.html").read_text()
    assert not list(folder.glob(".*partial"))


def test_command__no_catalog(tmp_path):
    with pytest.raises(CatalogError, match="holds no catalog"):
        run(argparse.Namespace(catalog=str(tmp_path), output=None, truth=None, top=5))


def test_command__partition_that_is_damaged(rows, tmp_path):
    folder = published(rows, tmp_path / "c")
    (partition,) = (folder / "hats" / "sources" / "dataset").rglob("Npix=*.parquet")
    partition.write_bytes(partition.read_bytes()[:2000])
    with pytest.raises(CatalogError, match="damaged"):
        run(argparse.Namespace(catalog=str(folder), output=None, truth=None, top=5))


@pytest.mark.parametrize("top", [-1, 100_000])
def test_command__top_out_of_range(small_run, tmp_path, top):
    with pytest.raises(CatalogError, match="expected a number of candidates from 0 to 300"):
        write_report(small_run, tmp_path / "r.html", n_top=top)


def test_command__output_that_cannot_be_written(small_run, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CatalogError, match="cannot write .* give another path with -o"):
        write_report(small_run, tmp_path / "file" / "r.html")
