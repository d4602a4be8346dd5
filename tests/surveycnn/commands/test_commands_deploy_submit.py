"""``surveycnn deploy submit`` without a server; with one it is in tests/deploy/test_deploy_prefect.py."""

from __future__ import annotations

import pytest
from prefect.states import Cancelled, Completed, Crashed, Failed

from surveycnn.cli import main
from surveycnn.commands.deploy_submit import exit_code


def test_submit__without_a_server(sky, tmp_path, capsys):
    assert main(["deploy", "submit", str(sky / "survey.yaml"), "--set", f"output={tmp_path / 'out'}"]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("surveycnn: PREFECT_API_URL is not set, so there is no server that has deployments: set it")
    assert not (tmp_path / "out").exists()


def test_submit__of_a_mistake_in_the_configuration(sky, capsys):
    assert main(["deploy", "submit", str(sky / "survey.yaml"), "--set", "bands={z: K}"]) == 2
    assert "no mosaic has a band 'K'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (Completed(message="5 sources"), 0),
        (Completed(name="Nothing new"), 0),
        (Completed(name="Partial"), 3),
        (Failed(message="file does not exist"), 2),
        (Failed(message="Flow run encountered an exception: RuntimeError: bad"), 1),
        (Cancelled(), 130),
        (Crashed(), 130),
    ],
)
def test_exit_code(state, code):
    assert exit_code(state) == code
