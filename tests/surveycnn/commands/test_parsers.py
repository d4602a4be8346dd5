"""What people type: examples of the helps, mistakes and the hints they get, and what shells complete."""

from __future__ import annotations

import argparse
import os
import pty
import re
import select
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from surveycnn.cli import _parse, main
from surveycnn.commands.flow import FLOWS as ENTRIES
from surveycnn.parsers.main import GROUPS, make_parser
from surveycnn.parsers.running import FLOWS


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser and those of its commands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from parsers(command)


ALL = {parser.prog: parser for parser in parsers(make_parser())}


def examples(parser: argparse.ArgumentParser) -> list[list[str]]:
    """Words of the examples in a help, without `surveycnn`."""
    lines = re.findall(r"^  surveycnn (.*)$", parser.epilog or "", re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines]


@pytest.mark.parametrize("prog", ALL)
def test_help__has_examples_that_are_understood_and_fits_80_columns(prog, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert examples(ALL[prog])
    for words in examples(ALL[prog]):
        parsed = _parse(words)
        assert parsed.parser.prog.startswith(prog) or prog == "surveycnn photoz"
    text = ALL[prog].format_help()
    assert all(len(line) <= 80 for line in text.splitlines() if "  surveycnn " not in line), text


def test_help__lists_every_command_once_and_every_exit_code(capsys):
    assert main([]) == 0
    text = capsys.readouterr().out
    names = [name for group in GROUPS.values() for name in group]
    commands = {prog.split()[1] for prog in ALL if " " in prog}
    assert sorted(names) == sorted(commands) and FLOWS == tuple(ENTRIES)
    assert all(re.search(rf"^  {name} ", text, re.MULTILINE) for name in names)
    assert all(f"{code} " in text.split("exit codes:")[1] for code in (0, 1, 2, 3, 130))


def test_examples__of_catalogs_run(small_run, tmp_path, monkeypatch, capsys):
    (tmp_path / "runs").mkdir()
    shutil.copytree(small_run, tmp_path / "runs" / "demo")
    monkeypatch.chdir(tmp_path)
    for command in ("query", "columns", "verify", "status"):
        for words in examples(ALL[f"surveycnn {command}"]):
            if "kids" not in " ".join(words):
                assert main(words) == 0, (words, capsys.readouterr().err)
    assert Path("bright.fits").is_file()


def refused(words: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The message for a command that is refused."""
    with pytest.raises(SystemExit) as ended:
        main(words.split())
    captured = capsys.readouterr()
    assert ended.value.code == 2 and not captured.out and captured.err.startswith("surveycnn: ") and captured.err.count("\n") == 1
    return captured.err.removeprefix("surveycnn: ").rstrip("\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("kids.yaml", "there is no command 'kids.yaml': to run a survey, `surveycnn run-flow survey kids.yaml`"),
        ("run-flow kids.yaml", "there is no flow 'kids.yaml': name the flow first, `surveycnn run-flow survey kids.yaml`"),
        ("survey kids.yaml", "there is no command 'survey': it is a flow, `surveycnn run-flow survey`"),
        ("qurey runs/demo", "there is no command 'qurey': did you mean 'query'?"),
        ("run-flow xyz", "there is no flow 'xyz': the flows are survey, ingest, infer, publish, watch, demo, .*"),
        ("models chekc lens", "there is no check 'chekc': did you mean 'check'?"),
        ("query", "missing: CATALOG; `surveycnn query --help` has examples"),
        ("query a --tpo 3", "there is no option '--tpo': did you mean '--top'?"),
        ("query a --top x", "--top: 'x' is no whole number; `surveycnn query --help` has examples"),
        ("query a --cone 1 -x 2", "--cone: expected 3 arguments; `surveycnn query --help` has examples"),
        ("query a b", "nothing takes 'b': leave it out; `surveycnn query --help` has examples"),
        ("completion fish", "there is no shell 'fish': the choices are bash, zsh, tcsh; .*"),
    ],
)
def test_mistakes__get_one_line_with_what_to_do(words, message, capsys):
    assert re.fullmatch(message.replace("?", r"\?"), refused(words, capsys))


def test_mistakes__a_folder_in_the_place_of_a_command(small_run, capsys):
    assert f"to see the catalog in it, `surveycnn query {small_run}`" in refused(str(small_run), capsys)


def test_view__takes_negative_declinations():
    assert _parse(["view", "runs/kids", "--at", "352.3", "-31.8"]).at == [352.3, -31.8]


@pytest.fixture(scope="module")
def scripts(tmp_path_factory) -> Path:
    """Folder with the script of each shell and some files to complete."""
    folder = tmp_path_factory.mktemp("completion")
    parser = make_parser()
    import shtab

    for shell in ("bash", "zsh", "tcsh"):
        (folder / f"{shell}.txt").write_text(shtab.complete(parser, shell))
    (folder / "kids.yaml").touch()
    (folder / "runs").mkdir()
    return folder


BASH = """source bash.txt; shift 0
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
_shtab_surveycnn surveycnn "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("surveycnn qu", {"query"}),
        ("surveycnn run-flow su", {"survey"}),
        ("surveycnn run-flow survey k", {"kids.yaml"}),
        ("surveycnn query r", {"runs"}),
        ("surveycnn query runs --lens", {"--lens-candidates"}),
        ("surveycnn deploy ch", {"check"}),
        ("surveycnn completion z", {"zsh"}),
        ("surveycnn verify ", {"runs"}),
    ],
)
def test_completion__in_bash(typed, offered, scripts):
    words = typed.split(" ")
    done = subprocess.run(["bash", "-c", BASH, "bash", *words], cwd=scripts, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == offered, done.stderr


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
@pytest.mark.parametrize(
    ("typed", "offered"),
    [("surveycnn qu", "query"), ("surveycnn run-flow survey k", "kids.yaml"), ("surveycnn query r", "runs/")],
)
def test_completion__in_zsh(typed, offered, scripts):
    shutil.copy(scripts / "zsh.txt", scripts / "_surveycnn")
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "PS1": "> ", "HOME": str(scripts)}
    with subprocess.Popen(["zsh", "-f", "-i"], stdin=theirs, stdout=theirs, stderr=theirs, cwd=scripts, env=environment) as shell:
        os.close(theirs)
        os.write(ours, b"fpath=($PWD $fpath); autoload -U compinit; compinit -u -D; echo rea''dy\n")
        written_until(ours, "ready\r\n")
        os.write(ours, typed.encode() + b"\t")
        written_until(ours, typed.rpartition(" ")[0] + " " + offered)
        shell.kill()
    os.close(ours)


def written_until(terminal: int, text: str) -> None:
    """Wait until a shell has written `text`, its control sequences left out."""
    written = ""
    while text not in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|.\x08", "", written):
        assert select.select([terminal], [], [], 30)[0], repr(written)
        written += os.read(terminal, 4096).decode(errors="ignore")


def test_completion__is_printed_for_each_shell(scripts, capsys):
    for shell in ("bash", "zsh", "tcsh"):
        assert main(["completion", shell]) == 0
        assert capsys.readouterr().out.strip() == (scripts / f"{shell}.txt").read_text().strip()
