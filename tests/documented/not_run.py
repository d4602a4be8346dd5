"""Documented commands that no test of a page runs, each with its reason. Those of surveycnn are parsed all the same.

A row is a page (``*`` for all), the beginning of a command (behind ``$`` where the page shows its output), and the reason.
A row that no command matches is a fault.
"""

from __future__ import annotations

INSTALLS = "installs from outside"
IS_MAKE = "the Makefile has it (a test looks); it takes minutes"
HOURS = "hours; tests/surveycnn has the same flow with small numbers"
KUBERNETES = "no Kubernetes here; tests/deploy/test_kubernetes.py checks the files"
DOCKER = "no Docker here; tests/deploy/test_docker.py runs what the files say"
SLURM = "tests/deploy/test_slurm.py runs it on a Slurm (marker deploy)"
PREFECT = "tests/deploy/test_deploy_prefect.py runs it against a server (marker deploy)"
MACHINE = "what it says depends on the machine; tests/surveycnn/commands/test_commands_deploy.py runs it with stand-ins"
TLS = "two machines; tests/test_security_servers.py connects with such certificates"
BENCHMARK = "data that is not in the repository"
VIEW = "serves until Ctrl-C; tests/surveycnn/commands/test_commands_view.py runs it"
SHELL = "sets the shell up for the commands below it"

NOT_RUN: tuple[tuple[str, str, str], ...] = (
    ("*", "make ", IS_MAKE),
    ("*", "pip install", INSTALLS),
    ("*", "export ", SHELL),
    ("*", "kubectl ", KUBERNETES),
    ("*", "helm ", KUBERNETES),
    ("*", "docker ", DOCKER),
    ("*", "sbatch ", SLURM),
    ("*", "prefect ", PREFECT),
    ("*", "$ prefect ", PREFECT),
    ("*", "surveycnn deploy submit", PREFECT),
    ("*", "surveycnn view", VIEW),
    ("docs/view.md", "ssh ", VIEW),
    ("*", "surveycnn deploy check slurm", MACHINE),
    ("*", "surveycnn deploy check local-cuda", MACHINE),
    ("*", "surveycnn run-flow challenge", HOURS),
    ("*", "python -m benchmarks.", BENCHMARK),
    ("deploy/README.md", "surveycnn run-flow survey kids.yaml --set cluster=my-cluster.yaml", SLURM),
    (
        "docs/laptop.md",
        "surveycnn run-flow survey sdss.yaml --set cluster=local-cuda",
        "no GPU; `make gpu-check` runs a survey on one",
    ),
    ("docs/lens_finder.md", "surveycnn run-flow train", HOURS),
    ("docs/models.md", "surveycnn run-flow train", HOURS),
    ("docs/own_labels.md", "surveycnn run-flow train --set", HOURS),
    ("docs/morphology_and_mergers.md", "surveycnn run-flow evaluate", HOURS),
    ("docs/morphology_and_mergers.md", "surveycnn run-flow train", HOURS),
    ("docs/prefect.md", "apt-get ", INSTALLS),
    ("docs/prefect.md", "su postgres ", PREFECT),
    ("docs/security.md", "dask ", TLS),
    ("docs/security.md", "surveycnn run-flow survey survey.yaml --set cluster=tls", TLS),
    ("docs/slurm.md", "python3.11 -m venv", INSTALLS),
    ("docs/slurm.md", "/shared/surveycnn/bin/pip", INSTALLS),
    ("docs/slurm.md", "$ squeue", SLURM),
    ("docs/slurm.md", "apptainer ", "no Apptainer here; the page says so"),
    ("docs/tutorial.md", "surveycnn run-flow demo", "half a minute; tests/surveycnn/run/test_run_demo.py runs a smaller one"),
)


def reason_not_to_run(page: str, command: str) -> str | None:
    """Why a command of a page is not run; None where it is."""
    return next((reason for where, what, reason in NOT_RUN if where in ("*", page) and command.startswith(what)), None)
