"""Cluster files: a Dask cluster class, its arguments and its scale, checked before anything is started.

A cluster is named by a path or by a file's stem in ``deploy/clusters``, where `local` and `local-cuda` are files like all others.
"""

from __future__ import annotations

import importlib
import inspect
import math
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import Field

import surveycnn.deploy
from surveycnn.errors import ClusterError, UserError, did_you_mean
from surveycnn.run.machine import GPU_THREADS_PER_WORKER, THREADS_PER_WORKER, local_shape, memory_of_this_machine, n_cores
from surveycnn.sections import Strict, read_yaml, validate_section

WORDS = ("serial", "threads")
"""Clusters of this process, without Dask."""
CLUSTER_FILES = Path(surveycnn.deploy.__file__).resolve().parent / "clusters"
EXTRAS = {"dask_jobqueue": "slurm", "dask_kubernetes": "kubernetes", "dask_cuda": "cuda"}
"""What to install for the packages of cluster classes."""
_importing = threading.Lock()
_MINIMA = ("minimum", "minimum_jobs", "minimum_cores", "minimum_memory")
_MAXIMA = ("maximum", "maximum_jobs", "maximum_cores", "maximum_memory")


class ClusterFile(Strict):
    """A cluster described by a file: a Dask cluster class and its arguments."""

    cluster_class: str = Field(pattern=r"^[\w.]+\.\w+$")
    """Dotted path such as ``dask_jobqueue.SLURMCluster``."""
    cluster_kwargs: dict[str, Any] = {}
    n_jobs: int | None = Field(default=None, ge=1)
    """Jobs to start, or workers where the class knows no jobs; they join as the queue lets them."""
    adapt_kwargs: dict[str, Any] | None = None
    """``minimum``, ``maximum``, ... to grow and shrink with the work, instead of n_jobs."""
    wait_minutes: float = Field(default=10.0, gt=0)
    """How long a run waits while no worker is there: for the longest time in the queue, or for nodes that have to start."""


def check_cluster(word: str) -> None:
    """Raise a UserError where `word` names no cluster, or a file that cannot be right; starts nothing."""
    if word not in WORDS and "://" not in word:
        read_cluster_file(word)


def read_cluster_file(word: str) -> tuple[ClusterFile, type]:
    """The description in a file, named by its path or by its stem in deploy/clusters, and the class that it asks for.

    Raises
    ------
    ConfigError
        Where the file has unknown keys or wrong values.
    ClusterError
        Where there is no such file, its class cannot be had, or its scale cannot be right.
    """
    path = _find(word)
    described = validate_section(ClusterFile, read_yaml(path), str(path))
    cluster_class = _import_class(path, described.cluster_class)
    _check_scale(path, described, cluster_class)
    return described, cluster_class


def start_cluster(word: str) -> Any:
    """The Dask cluster of a file, before it is scaled.

    Raises
    ------
    ClusterError
        Where its class refuses its arguments, or it does not start.
    """
    described, cluster_class = read_cluster_file(word)
    try:
        return cluster_class(**described.cluster_kwargs)
    except UserError:
        raise
    except Exception as error:  # Dask, batch systems and Kubernetes each have their own
        first: BaseException = error
        while isinstance(first, RuntimeError) and first.__cause__ is not None:
            first = first.__cause__
        found = f"{type(first).__name__}: {first}"
        if isinstance(first, TypeError | ValueError | AttributeError):
            raise ClusterError(f"cluster {word!r}: {described.cluster_class} refuses its cluster_kwargs ({found})") from error
        raise ClusterError(
            f"cluster {word!r} does not start ({found}): look at the logs of its workers; the same command goes on from here"
        ) from error


def scale_cluster(cluster: Any, word: str) -> None:
    """Ask for the workers that the file of a cluster asks for."""
    described, _ = read_cluster_file(word)
    try:
        if described.adapt_kwargs is not None:
            cluster.adapt(**described.adapt_kwargs)
        elif described.n_jobs is not None and "jobs" in inspect.signature(cluster.scale).parameters:
            cluster.scale(jobs=described.n_jobs)
        elif described.n_jobs is not None:
            cluster.scale(described.n_jobs)
    except (TypeError, ValueError, AttributeError) as error:
        key = "n_jobs" if described.adapt_kwargs is None else "adapt_kwargs"
        raise ClusterError(f"cluster {word!r}: {described.cluster_class} refuses its {key} ({error})") from None


def _find(word: str) -> Path:
    candidates = (CLUSTER_FILES / f"{word}.yaml", Path(word).expanduser(), CLUSTER_FILES / word)
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        names = sorted(path.stem for path in CLUSTER_FILES.glob("*.yaml"))
        hint, shipped = did_you_mean(word, {*names, *WORDS}), ", ".join(names) or "none"
        raise ClusterError(
            f"cluster {word!r} is none of {', '.join(WORDS)}, no scheduler address such as tcp://host:8786, "
            f"and no file; {hint}the files in deploy/clusters are {shipped}"
        )
    return found


def _import_class(path: Path, dotted: str) -> type:
    module, _, name = dotted.rpartition(".")
    try:
        with _importing:
            if module not in sys.modules:
                with _signals_kept():
                    importlib.import_module(module)
        found = getattr(sys.modules[module], name)
    except (ImportError, AttributeError) as error:
        missing = (getattr(error, "name", None) or module).partition(".")[0]
        extra = EXTRAS.get(missing) or EXTRAS.get(module.partition(".")[0])
        advice = f"install surveycnn[{extra}]" if extra else "correct the name, or install its package"
        raise ClusterError(f"{path}: cannot import {dotted!r} ({error}): {advice}") from None
    from distributed.deploy import Cluster as DaskCluster

    if not (isinstance(found, type) and issubclass(found, DaskCluster)):
        raise ClusterError(f"{path}: {dotted!r} is not a Dask cluster class: name one such as dask_jobqueue.SLURMCluster")
    return found


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Undo what a module does to Ctrl-C where it is imported: dask_jobqueue has it end the process with exit code 0.

    In another thread than the main one it would fail to do so, and could not be imported.
    """
    if threading.current_thread() is threading.main_thread():
        before = signal.getsignal(signal.SIGINT) or signal.default_int_handler
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
        return
    register, signal.signal = signal.signal, lambda number, handler: handler  # type: ignore[assignment]
    try:
        yield
    finally:
        signal.signal = register


def _check_scale(path: Path, described: ClusterFile, cluster_class: type) -> None:
    """Raise ClusterError where a cluster would start no worker, none for good, or any number of them."""
    adapt, n_workers = described.adapt_kwargs, described.cluster_kwargs.get("n_workers")
    if adapt is not None and described.n_jobs is not None:
        raise ClusterError(f"{path}: n_jobs (a fixed number) and adapt_kwargs (as the work asks for) exclude each other")
    if adapt is None and described.n_jobs is None and (n_workers == 0 or n_workers is None and hasattr(cluster_class, "job_cls")):
        raise ClusterError(
            f"{path}: no worker would ever start: give n_jobs: 4, or adapt_kwargs with minimum_jobs and maximum_jobs"
        )
    if adapt is None:
        return
    known = _adapt_names(cluster_class)
    if unknown := set(adapt) - known:
        raise ClusterError(
            f"{path}: {described.cluster_class} does not know {', '.join(map(repr, sorted(unknown)))} of adapt_kwargs: "
            f"it takes {', '.join(sorted(known))}"
        )
    if not any(_is_some(adapt.get(key)) for key in _MINIMA):
        raise ClusterError(f"{path}: adapt_kwargs has no minimum of 1 or more: a run hands out its tiles when a worker is there")
    if not any(_is_some(adapt.get(key)) for key in _MAXIMA):
        raise ClusterError(f"{path}: adapt_kwargs has no maximum: a run could ask for any number of workers")
    for least, most in zip(_MINIMA, _MAXIMA, strict=True):
        low, high = adapt.get(least), adapt.get(most)
        if isinstance(low, int | float) and isinstance(high, int | float) and low > high:
            raise ClusterError(f"{path}: adapt_kwargs has {least}: {low} above {most}: {high}")


def _is_some(value: Any) -> bool:
    """Whether `value` is a finite positive number, or a text such as 64GB."""
    return isinstance(value, str) or (isinstance(value, int | float) and 0 < value < math.inf)


def _adapt_names(cluster_class: type) -> set[str]:
    """Arguments that ``adapt`` of a class takes, with those of Dask's Adaptive, which ignores others."""
    from distributed.deploy import Adaptive

    functions = [base.__dict__["adapt"] for base in cluster_class.__mro__ if "adapt" in base.__dict__]
    names: set[str] = set()
    for function in [*functions, Adaptive.__init__]:
        parameters = inspect.signature(function).parameters.values()
        names |= {
            parameter.name for parameter in parameters if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        }
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    return names - {"self", "cluster", "Adaptive"}


def describe_cluster(word: str) -> dict[str, Any]:
    """Plain values about the cluster that `word` names, as far as they are known before it starts; imports no class."""
    cores = n_cores()
    if word in WORDS:
        shape: Shape = 1, cores if word == "threads" else 1, memory_of_this_machine()
    elif "://" in word:
        shape = None, THREADS_PER_WORKER, None
    else:
        shape = _shape(validate_section(ClusterFile, read_yaml(path := _find(word)), str(path)), cores)
    n_workers, n_threads, limit = shape
    return {"name": word, "workers": n_workers or "?", "threads_per_worker": n_threads, "memory_limit_bytes": limit}


Shape = tuple[int | None, int, int | None]
"""Workers, threads and bytes of memory of each; None where that is not known."""


def _shape(described: ClusterFile, cores: int) -> Shape:
    given = described.cluster_kwargs
    name = described.cluster_class.rpartition(".")[2]
    if name in ("LocalWorkers", "LocalCluster"):
        n_workers, n_threads = local_shape(cores, described.n_jobs or given.get("n_workers"), given.get("threads_per_worker"))
        return n_workers, n_threads, _bytes(given.get("memory_limit")) or memory_of_this_machine() // max(1, n_workers)
    if name == "LocalCUDAWorkers":
        return given.get("n_workers"), given.get("threads_per_worker", GPU_THREADS_PER_WORKER), _bytes(given.get("memory_limit"))
    if described.cluster_class.startswith("dask_jobqueue.") and isinstance(given.get("cores"), int):
        processes = given.get("processes") or 1
        memory, n_jobs = _bytes(given.get("memory")), described.n_jobs
        return n_jobs and n_jobs * processes, max(1, given["cores"] // processes), memory and memory // processes
    return given.get("n_workers"), THREADS_PER_WORKER, None


def _bytes(value: Any) -> int | None:
    """Bytes of a value such as 8GiB; None where it is none."""
    from dask.utils import parse_bytes

    try:
        return parse_bytes(value) if isinstance(value, int | str) else None
    except ValueError:
        return None
