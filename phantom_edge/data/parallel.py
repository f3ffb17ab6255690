"""Map a function over items in order, with the same results in this process, in several, or on a Ray cluster."""

import logging
import os
import pickle
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial
from itertools import islice
from multiprocessing import get_context
from typing import TYPE_CHECKING, TypeVar

from phantom_edge.foundation.errors import EdgeError, need

if TYPE_CHECKING:
    from ray.actor import ActorHandle

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 4
"""Items queued for each process: enough to keep it busy, and no more in memory."""

ROUND = 512
"""Items submitted to Ray at once, for the same reason."""


def over_processes(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """``map``, from ``workers`` processes where that is more than one."""
    if workers < 2:
        yield from map(function, items)
        return
    rest = iter(items)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        waiting: deque[Future[Result]] = deque(pool.submit(function, item) for item in islice(rest, workers * AHEAD))
        try:
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(pool.submit(function, item) for item in islice(rest, 1))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def over_ray(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """``map`` through Ray Data: on the cluster of RAY_ADDRESS, or on one started on this machine.

    Files that ``function`` reads or writes must lie where every machine of the cluster can reach them. An EdgeError of
    ``function`` is raised here.
    """
    ray = need("ray", "ray")
    data = need("ray.data", "ray")
    ours = not ray.is_initialized()
    if ours:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would send usage data
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # our own progress replaces it
    context = data.DataContext.get_current()
    before = context.execution_options.preserve_order, context.enable_progress_bars
    context.execution_options.preserve_order, context.enable_progress_bars = True, False
    rest = iter(items)
    try:
        stop = ray.remote(num_cpus=0)(_Stop).remote()
        work = partial(_on_row, function=function, stop=stop)
        while batch := [{"item": pickle.dumps(item)} for item in islice(rest, ROUND)]:
            rows = iter(data.from_items(batch, override_num_blocks=len(batch)).map(work).iter_rows())
            try:
                for row in rows:
                    result = pickle.loads(row["result"])
                    if isinstance(result, EdgeError):
                        raise result
                    yield result
            finally:
                # Ray's threads outlive a dropped stream and end the whole process when Ray is shut down under them:
                # so the rest of a failed round passes through without work
                ray.get(stop.stop.remote())
                deque(rows, maxlen=0)
                ray.get(stop.resume.remote())
    finally:
        context.execution_options.preserve_order, context.enable_progress_bars = before
        if ours:
            ray.shutdown()


class _Stop:
    """A flag shared by all processes of the cluster: while it is set, items are skipped."""

    def __init__(self) -> None:
        self.is_set = False

    def stop(self) -> None:
        self.is_set = True

    def resume(self) -> None:
        self.is_set = False

    def stopped(self) -> bool:
        return self.is_set


def _on_row(row: dict[str, bytes], function: Callable[[Item], Result], stop: "ActorHandle[_Stop]") -> dict[str, bytes]:
    """Apply ``function`` to a row for Ray Data, which maps rows to rows. Both hold this program's own pickles."""
    if need("ray", "ray").get(stop.stopped.remote()):
        return {"result": pickle.dumps(None)}
    try:
        result: Result | EdgeError = function(pickle.loads(row["item"]))
    except EdgeError as error:
        result = error
    return {"result": pickle.dumps(result)}
