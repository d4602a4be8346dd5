"""What holds for the whole package: no code from data, no secrets and no control characters in what is written and printed."""

import ast
import json
import shutil
from pathlib import Path

import pytest
import yaml

from surveycnn.catalogs.query import open_catalog
from surveycnn.cli import main
from surveycnn.config import load_config
from surveycnn.errors import ConfigError, ModelError, UserError, printable
from surveycnn.evaluation.tables import markdown_table
from surveycnn.models.package import package_folder
from surveycnn.photoz.card import check_name

ROOT = Path(__file__).resolve().parent.parent

UNSAFE_MODULES = {"pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "_pickle"}
UNSAFE_CALLS = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "tempfile.mktemp", "yaml.unsafe_load", "yaml.full_load"),
    *("yaml.load", "yaml.load_all", "np.lib.format.read_array", "code.interact", "pd.read_pickle", "pandas.read_pickle"),
}
EXCEPTIONS = {
    "surveycnn/run/dask_link.py: import pickle": "calls to workers, through Dask, which pickles them anyway",
    "surveycnn/run/dask_link.py: import distributed.protocol.pickle": "the same",
    "surveycnn/models/card_file.py: yaml.load": "with a loader that is PyYAML's safe one, less its anchors",
    "surveycnn/sections.py: yaml.load": "with PyYAML's safe loader in C",
    "benchmarks/fuzz/package_contents.py: allow_pickle=True": "writes a golden file with pickles, which must be refused",
}
"""What of this our sources do after all, and why."""


def name_of(node):
    """Dotted name of what is called, as it is written."""
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def unsafe(tree):
    """What a module does that could run code from data."""
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        yield from (f"import {name}" for name in names if set(name.split(".")) & UNSAFE_MODULES)
        if isinstance(node, ast.Call):
            if name_of(node.func) in UNSAFE_CALLS:
                yield name_of(node.func)
            for keyword in node.keywords:
                if keyword.arg in ("allow_pickle", "shell") and not (
                    isinstance(keyword.value, ast.Constant) and keyword.value.value is False
                ):
                    yield f"{keyword.arg}={ast.unparse(keyword.value)}"
                if keyword.arg == "safe_mode" and ast.unparse(keyword.value) != "True":
                    yield "safe_mode"


def test_sources__run_no_code_from_data():
    found = set()
    for folder in ("surveycnn", "flows", "catalogs", "benchmarks", "docs"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            found |= {f"{path.relative_to(ROOT)}: {what}" for what in unsafe(ast.parse(path.read_text(encoding="utf-8")))}
    assert found == set(EXCEPTIONS)


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("import pickle", "import pickle"),
        ("from joblib import load", "import joblib"),
        ("np.load(f, allow_pickle=True)", "allow_pickle=True"),
        ("np.load(f, allow_pickle=trusted)", "allow_pickle=trusted"),
        ("yaml.load(f, yaml.Loader)", "yaml.load"),
        ("subprocess.run(x, shell=True)", "shell=True"),
        ("eval(x)", "eval"),
        ("keras.saving.load_model(p, safe_mode=False)", "safe_mode"),
    ],
)
def test_unsafe__finds(source, what):
    assert list(unsafe(ast.parse(source))) == [what]


def test_unsafe__leaves_alone():
    assert list(unsafe(ast.parse("model.compile(); np.load(f, allow_pickle=False); re.compile('x'); model.eval()"))) == []


@pytest.mark.parametrize("error", [UserError, ConfigError, ModelError])
def test_errors__steer_no_terminal_and_tell_no_password(error):
    raised = error("file '\x1b]0;owned\x07\x9b2J\u202e' of https://me:hunter2@host/a?sig=hunter2&part=1\nnext\tline é 星")
    for text in (str(raised), repr(raised)):
        assert "hunter2" not in text
        assert all(one.isprintable() or one in "\n\t" for one in text)
    assert "é 星" in str(raised)
    assert str(raised).endswith("of https://***@host/a?sig=***&part=1\nnext\tline é 星")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://key:hunter2@bucket/g.fits", "s3://***@bucket/g.fits"),
        ("https://h/x?X-Amz-Credential=a%2Fb&X-Amz-Signature=c", "https://h/x?X-Amz-Credential=***&X-Amz-Signature=***"),
        ("https://h/x?access_token=hunter2'", "https://h/x?access_token=***'"),
        ("tcp://10.0.0.1:8786 and a@b", "tcp://10.0.0.1:8786 and a@b"),
        ("https://me@host/x", "https://me@host/x"),
    ],
)
def test_printable__urls(text, shown):
    assert printable(text) == shown


@pytest.mark.parametrize(
    "command", [["status", "\x1b[2J"], ["models", "check", "\x1b[2J"], ["query", "\x1b[2J"], ["plan", "\x1b[2J"]]
)
def test_command__file_name_that_steers_a_terminal(command, capsys):
    assert main(command) == 2
    captured = capsys.readouterr()
    assert "\x1b" not in captured.err + captured.out
    assert "\\x1b[2J" in captured.err


def survey(folder, **changes):
    tree = {"name": "x", "mosaics": [{"id": "m", "images": [{"band": "g", "path": "g.fits"}]}]} | changes
    (folder / "survey.yaml").write_text(yaml.safe_dump(tree))
    return folder / "survey.yaml"


@pytest.mark.parametrize("key", ["path", "weight", "variance", "rms", "mask", "wcs"])
def test_config__password_in_a_url(tmp_path, key):
    image = {"band": "g", "path": "g.fits"} | {key: "https://me:hunter2@host/g.fits"}
    with pytest.raises(ConfigError, match=r"the URL has a password in it: leave it to the environment") as caught:
        load_config(survey(tmp_path, mosaics=[{"id": "m", "images": [image]}]))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "a/b", "..", ".x", "a\\b", "a\nb", "a\x00", "~", "", "\x1b[2J"])
def test_config__names_that_are_paths(tmp_path, name):
    with pytest.raises(ConfigError, match="key 'name': expected up to 100 letters"):
        load_config(survey(tmp_path, name=name))
    with pytest.raises(ConfigError, match=r"key 'mosaics\[0\].id': expected up to 100 letters"):
        load_config(survey(tmp_path, mosaics=[{"id": name, "images": [{"band": "g", "path": "g.fits"}]}]))
    with pytest.raises(ConfigError, match=r"key 'mosaics\[0\].images\[0\].band': expected up to 20 letters"):
        load_config(survey(tmp_path, mosaics=[{"id": "m", "images": [{"band": name or "?", "path": "g.fits"}]}]))
    with pytest.raises(UserError):
        check_name(name + "\n")


def test_run__writes_into_its_folders_alone(small_run):
    provenance = json.loads((small_run / "provenance.json").read_text())
    assert all(not Path(name).is_absolute() and ".." not in Path(name).parts for name in provenance["catalog"]["files"])
    assert sorted(path.name for path in small_run.parent.iterdir()) == [small_run.name]
    assert not [path for path in small_run.rglob("*") if path.is_symlink() or path.suffix in (".pkl", ".pickle")]


def test_catalog__page_of_a_catalog_with_tags_in_its_names(small_run, tmp_path):
    copy = shutil.copytree(small_run, tmp_path / "<script>alert(1)<")
    page = open_catalog(copy).where("mosaic != '<img src=x onerror=alert(1)>'")._repr_html_()
    assert "<script" not in page
    assert "<img" not in page
    assert "&lt;img src=x" in page


def test_markdown_table__what_a_card_says_stays_text():
    text = markdown_table([["model", "x"], ["1|2 <script>alert(1)</script> [a](javascript:b)\n| c \x1b[2J", "\\"]])
    assert text.count("\n") == 2
    assert "<script" not in text
    assert "](javascript" not in text
    assert "\x1b" not in text
    assert text.splitlines()[2].replace("\\\\", "").replace("\\|", "").count("|") == 3


def test_package_folder__name_that_steers_a_terminal():
    with pytest.raises(ModelError, match=r"no model '.*x1b\[2J'"):
        package_folder("\x1b[2J")
