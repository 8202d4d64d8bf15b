"""Do the points that are not done: in this process, in several, or on a Dask cluster."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

from ssmc.cluster import dask_client
from ssmc.errors import UsageError
from ssmc.sweep.evaluate import evaluate_point
from ssmc.sweep.spec import Point, Sweep
from ssmc.sweep.store import Result, Store

#: a worker that dies takes its point with it; the point is tried again so often
ATTEMPTS = 3
AHEAD = 2


def run_sweep(
    sweep: Sweep, store: Store, *, jobs: int = 1, dask: str = "", progress: Callable[[Result], None] = lambda done: None
) -> None:
    """Do every point of the sweep that has no result yet, and keep each as soon as it is done.

    Args:
        sweep: what to do.
        store: where results are, and go to.
        jobs: processes of this machine; 1 works in this one.
        dask: address of a Dask scheduler, such as ``tcp://host:8786``; its workers need ssmc and the same paths.
        progress: told every result.

    Raises:
        UsageError: SSMC-W05 where Dask is not installed or its scheduler does not answer, SSMC-W06 where a point ends
            the process that does it again and again.
    """
    points = store.open_points(sweep)
    if not points:
        return
    done = _on_dask(points, dask) if dask else _in_processes(points, jobs) if jobs > 1 else map(timed_point, points)
    for result in done:
        store.add(sweep, result)
        progress(result)


def timed_point(point: Point) -> Result:
    """A point's result with the seconds that it took."""
    began = time.perf_counter()
    made = evaluate_point(point)
    return Result(point, made["figures"], made["error"], time.perf_counter() - began)


def _in_processes(points: list[Point], jobs: int) -> Iterator[Result]:
    """A pool that is killed in part is made anew; points that were under way are done again."""
    attempts = [0] * len(points)
    left = list(range(len(points)))
    while left:
        with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
            queue: list[int] = list(left)
            running: dict[Future[Result], int] = {}
            try:
                while queue or running:
                    while queue and len(running) < AHEAD * jobs:
                        index = queue.pop(0)
                        running[pool.submit(timed_point, points[index])] = index
                    ended, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in ended:
                        yield future.result()
                        left.remove(running.pop(future))
            except BrokenProcessPool:
                _count(running, attempts, points, jobs)


def _count(running: dict[Future[Result], int], attempts: list[int], points: list[Point], jobs: int) -> None:
    """One more failed attempt for all that was under way."""
    for index in running.values():
        attempts[index] += 1
        if attempts[index] >= ATTEMPTS * jobs * AHEAD:
            raise _fatal(points[index])


def _fatal(point: Point) -> UsageError:
    shown = ", ".join(f"{key}={value}" for key, value in point.items() if value not in ("", 0))
    return UsageError("SSMC-W06", f"a point ends its process ({shown})", "give it more memory, or leave it out")


def _on_dask(points: list[Point], address: str) -> Iterator[Result]:
    """The scheduler gives points of lost workers to others; a result comes back once."""
    with dask_client(address) as client:
        from distributed import as_completed

        futures = client.map(timed_point, points, pure=False, retries=ATTEMPTS)
        for _, result in as_completed(futures, with_results=True):
            yield result
