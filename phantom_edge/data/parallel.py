"""The same function over many things, in order: in this process, in several, or on a Ray cluster. Same results."""

import logging
import os
import pickle
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial
from itertools import islice
from multiprocessing import get_context
from typing import TypeVar

from phantom_edge.errors import EdgeError, need

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 4
"""Items that are given out beyond what each process works at: enough to keep it busy, and no more in memory."""

ROUND = 512
"""Items that Ray is given at once, for the same reason."""


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
    """``map`` through Ray Data: on the cluster of RAY_ADDRESS, or on one started for this on all of this machine.

    Files that ``function`` reads or writes must lie where every machine of the cluster sees them. An EdgeError of
    ``function`` arrives as itself.
    """
    ray = need("ray", "ray")
    data = need("ray.data", "ray")
    ours = not ray.is_initialized()
    if ours:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report home
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # a person is told by our own progress
    context = data.DataContext.get_current()
    before = context.execution_options.preserve_order, context.enable_progress_bars
    context.execution_options.preserve_order, context.enable_progress_bars = True, False
    rest = iter(items)
    try:
        while batch := [{"item": pickle.dumps(item)} for item in islice(rest, ROUND)]:
            rows = data.from_items(batch, override_num_blocks=len(batch)).map(partial(_on_row, function=function))
            for row in rows.iter_rows():
                result = pickle.loads(row["result"])
                if isinstance(result, EdgeError):
                    raise result
                yield result
    finally:
        context.execution_options.preserve_order, context.enable_progress_bars = before
        if ours:
            ray.shutdown()


def _on_row(row: dict[str, bytes], function: Callable[[Item], Result]) -> dict[str, bytes]:
    """The function as Ray Data wants it: a row of a table in, a row out. Both hold this program's own pickles."""
    try:
        result: Result | EdgeError = function(pickle.loads(row["item"]))
    except EdgeError as error:
        result = error
    return {"result": pickle.dumps(result)}
