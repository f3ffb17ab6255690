"""Something that is done again and again, beside a block."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def every(seconds: float, act: Callable[[], object]) -> Iterator[None]:
    """Do ``act`` on a thread of its own until the block ends; it is over then."""
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
