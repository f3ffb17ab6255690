"""Runs a function periodically during a block."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def every(seconds: float, act: Callable[[], object]) -> Iterator[None]:
    """Calls ``act`` every so many seconds on another thread; the thread has ended when the block has."""
    over = threading.Event()

    def go_on() -> None:
        while not over.wait(seconds):
            act()

    worker = threading.Thread(target=go_on, daemon=True)
    worker.start()
    try:
        yield
    finally:
        over.set()
        worker.join()
