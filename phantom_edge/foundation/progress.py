"""Types for the progress of long work."""

from collections.abc import Callable

Advance = Callable[[int], None]
"""``advance(n)``: n more steps, bytes or layers are done."""

Counting = Callable[[int], Advance]
"""Progress of one task: ``(total) -> advance(n)``."""

Progress = Callable[[str, int], Advance]
"""Progress factory: ``(task, total) -> advance(n)``."""


def no_progress(*_task: str | int) -> Advance:
    """Ignores progress."""
    return lambda _step: None
