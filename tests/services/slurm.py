"""A Slurm of several nodes on this one host, from a temporary folder: munged, slurmctld and a slurmd for each node."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "sinfo", "scontrol")
NODES = ("n1", "n2")
CPUS, MEMORY_MB = 4, 8000
"""Of each node as Slurm believes; the host may have less, so that several small jobs fit anywhere."""
START_SECONDS, END_SECONDS = 60.0, 30.0
FAKE_GPUS = ("/dev/null", "/dev/zero")
"""Device files that stand for the GPU of a node: Slurm hands out what they are called, nothing is opened."""

SLURM_CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SlurmdParameters=config_overrides
SchedulerParameters=sched_min_interval=100000,bf_interval=1,batch_sched_delay=0
MailProg=/bin/true
ReturnToService=2
KillWait=5
OverTimeLimit=0
GresTypes=gpu
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing_for_slurm() -> str | None:
    """Why no Slurm can be started here; None where it can."""
    lacking = [name for name in PROGRAMS if _path_of(name) is None]
    if lacking:
        return f"no {', '.join(lacking)}: install Debian's slurm-wlm and munge"
    if os.geteuid() != 0:
        return "slurmd starts jobs as root alone: run these tests as root, in a container for instance"
    return None


@dataclass(frozen=True)
class Slurm:
    """A running Slurm."""

    folder: Path
    """Its configuration, state and logs."""

    @property
    def environment(self) -> dict[str, str]:
        """What its users have in their environment."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def run(self, *command: str) -> str:
        """What a command prints in that environment."""
        done = subprocess.run(command, env=os.environ | self.environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{command}: {done.stdout} {done.stderr}"
        return done.stdout.strip()

    def jobs(self, name: str | None = None, states: str = "PENDING,RUNNING,COMPLETING") -> list[str]:
        """Numbers of the jobs in the queue."""
        lines = self.run("squeue", "-h", f"--states={states}", "-o", "%i %j").splitlines()
        return [number for number, job_name in map(str.split, lines) if name in (None, job_name)]

    def detail(self, job: str) -> dict[str, str]:
        """What ``scontrol show job`` says of a job."""
        return dict(part.split("=", 1) for part in self.run("scontrol", "-o", "show", "job", job).split() if "=" in part)

    def processes(self) -> list[int]:
        """Processes that this Slurm's jobs and commands have left, and all that they have started; not its daemons."""
        mark = f"SLURM_CONF={self.environment['SLURM_CONF']}\0".encode()
        return [number for number in _processes_with(mark) if number != os.getpid()]


@contextmanager
def running_slurm() -> Iterator[Slurm]:
    """A Slurm that accepts jobs; ends with all its jobs and daemons."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # a socket's path has 108 characters at most
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        _write_files(folder)
        slurm = Slurm(folder)
        files = {"key": "munge.key", "pid": "munged.pid", "log": "munged.log", "seed": "munge.seed"}
        options = [f"--{name}-file={folder / file}" for name, file in files.items()]
        _start(stack, folder, "munged", "--foreground", "--force", f"--socket={folder}/munge.socket", *options)
        wait_until((folder / "munge.socket").exists, "munged listens")
        _start(stack, folder, "slurmctld", "-D", "-f", slurm.environment["SLURM_CONF"])
        for node in NODES:
            _start(stack, folder, "slurmd", "-D", "-N", node, "-f", slurm.environment["SLURM_CONF"])
        stack.callback(_end_jobs, slurm)
        wait_until(lambda: _idle_nodes(slurm) == len(NODES), "all nodes are idle", START_SECONDS)
        yield slurm


def wait_until(holds: Callable[[], object], what: str, seconds: float = START_SECONDS) -> None:
    """Return once `holds` gives something true; an AssertionError names `what` did not come."""
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.1)


def _write_files(folder: Path) -> None:
    folder.chmod(0o755)
    (folder / "state").mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    host, *ports = socket.gethostname().split(".")[0], *_free_ports(1 + len(NODES))
    nodes = [
        f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={CPUS} RealMemory={MEMORY_MB} Gres=gpu:1"
        for name, port in zip(NODES, ports[1:], strict=True)
    ]
    text = SLURM_CONF.format(host=host, port=ports[0], user="root", folder=folder, nodes="\n".join(nodes))
    (folder / "slurm.conf").write_text(text)
    gpus = [f"NodeName={name} Name=gpu File={file}\n" for name, file in zip(NODES, FAKE_GPUS, strict=True)]
    (folder / "gres.conf").write_text("".join(gpus))


def _start(stack: ExitStack, folder: Path, program: str, *arguments: str) -> None:
    path = _path_of(program)
    assert path is not None, program
    with (folder / f"{program}.output").open("ab") as output:
        daemon = subprocess.Popen([path, *arguments], stdout=output, stderr=output, start_new_session=True)
    stack.callback(_end, daemon)


def _end(daemon: subprocess.Popen[bytes]) -> None:
    daemon.terminate()
    try:
        daemon.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def _end_jobs(slurm: Slurm) -> None:
    """Cancel what is in the queue, and kill whatever that leaves."""
    with suppress(AssertionError, subprocess.TimeoutExpired):
        if jobs := slurm.jobs():
            slurm.run("scancel", *jobs)
            wait_until(lambda: not slurm.jobs(), "an empty queue", END_SECONDS)
    for number in slurm.processes():
        with suppress(ProcessLookupError):
            os.kill(number, 9)


def _idle_nodes(slurm: Slurm) -> int:
    try:
        return slurm.run("sinfo", "-h", "-N", "-o", "%T").split().count("idle")
    except AssertionError:  # slurmctld does not answer yet
        return 0


def _processes_with(mark: bytes) -> Iterator[int]:
    for folder in Path("/proc").iterdir():
        with suppress(OSError):
            if folder.name.isdigit() and mark in (folder / "environ").read_bytes():
                yield int(folder.name)


def _free_ports(count: int) -> Sequence[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("", 0))
        return [one.getsockname()[1] for one in sockets]


def _path_of(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
