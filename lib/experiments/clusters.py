"""The same plan on many machines: calls as tasks of a Dask or a Ray cluster whose workers share this project's folder.

A call whose worker dies is done again by another. Records are written by who made them, so that a lost cluster costs what was in flight.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import Any

from lib.experiments.values import ConfigError

AGAIN = 3  # how often a call of which the worker died is done again, as with Dask: it may be the call that kills
PATIENCE = 120.0  # seconds to wait for a first worker

Call = tuple[Callable, tuple, dict]  # as joblib.delayed makes it
Pool = Callable[[Iterable[Call]], Iterator[Any]]


class LostClusterError(RuntimeError):
    """The cluster is gone, or the worker of one call again and again."""

    def __init__(self, error: BaseException):
        gone = f"the cluster, or the worker of one run again and again, is gone ({type(error).__name__}: {error})"
        super().__init__(f"{gone}: what was recorded stays, and the same command goes on from there")


@contextmanager
def dask_cluster() -> Iterator[Pool]:
    """The cluster at DASK_SCHEDULER_ADDRESS, or processes of this machine without.

    Raises ConfigError for a worker of several threads, as PyTorch's settings are a process's, and where no worker comes.
    """
    from distributed import Client, KilledWorker, wait
    from distributed.comm import CommClosedError

    address = os.environ.get("DASK_SCHEDULER_ADDRESS")
    options = {} if address else {"threads_per_worker": 1, "n_workers": os.cpu_count(), "dashboard_address": None}
    with Client(address, **options) as client:
        try:
            client.wait_for_workers(1, timeout=PATIENCE)
        except TimeoutError:
            how = f"start some with `dask worker {address} --nthreads 1`"
            raise ConfigError(f"no worker came to {address} in {PATIENCE:g} s: {how}") from None
        if crowded := [worker for worker, threads in client.nthreads().items() if threads > 1]:
            raise ConfigError(f"worker {crowded[0]} has several threads: start it with --nthreads 1, and --nworkers for as many processes")

        def submit(function: Callable, args: tuple, kwargs: dict) -> Any:
            return client.submit(function, *args, **kwargs, pure=False)

        def first(flying: list) -> tuple[list, list]:
            done, rest = wait(flying, return_when="FIRST_COMPLETED")
            return [future.result() for future in done], list(rest)

        try:
            yield lambda calls: as_they_end(calls, submit, first, lambda: len(client.nthreads()))
        except (CancelledError, CommClosedError, KilledWorker) as error:
            raise LostClusterError(error) from error


@contextmanager
def ray_cluster() -> Iterator[Pool]:
    """The cluster at RAY_ADDRESS, or one of this machine without."""
    import ray
    from ray.exceptions import LocalRayletDiedError, RaySystemError, WorkerCrashedError

    ray.init(os.environ.get("RAY_ADDRESS"), log_to_driver=False)
    remote = functools.cache(ray.remote(num_cpus=1, max_retries=AGAIN))

    def submit(function: Callable, args: tuple, kwargs: dict) -> Any:
        return remote(function).remote(*args, **kwargs)

    def first(flying: list) -> tuple[list, list]:
        done, rest = ray.wait(flying)
        return ray.get(done), rest

    try:
        yield lambda calls: as_they_end(calls, submit, first, lambda: int(ray.cluster_resources().get("CPU", 1)))
    except (LocalRayletDiedError, RaySystemError, WorkerCrashedError) as error:
        raise LostClusterError(error) from error
    finally:
        ray.shutdown()


def as_they_end(
    calls: Iterable[Call], submit: Callable, first: Callable[[list], tuple[list, list]], workers: Callable[[], int]
) -> Iterator[Any]:
    """What each call gives, as they end; as many are in flight as there are workers, so that the calls may be made late."""
    flying: list = []
    for call in calls:
        flying.append(submit(*call))
        while len(flying) >= max(1, workers()):
            done, flying = first(flying)
            yield from done
    while flying:
        done, flying = first(flying)
        yield from done


CLUSTERS = {"dask": dask_cluster, "ray": ray_cluster}
