"""Convert the official dataset to JSONL triples."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from phantom_edge.data.official import read_official
from phantom_edge.data.triples import moved
from phantom_edge.foundation.files import whole_file


@dataclass
class Converted:
    """Counts of a conversion; ``faults`` counts entries left out, ``examples`` holds the first numbers of each."""

    triples: int = 0
    with_rejected: int = 0
    with_pictures: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[int]] = field(default_factory=dict)

    def leave_out(self, entry: int, fault: str) -> None:
        """Count an entry that is no triple."""
        self.faults[fault] += 1
        examples = self.examples.setdefault(fault, [])
        if len(examples) < 5:
            examples.append(entry)


def convert_official(
    official: Path,
    images: Path,
    out: Path,
    wrong: str | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Converted:
    """Write the triples of ``official`` to ``out``, an entry at a time; ``images`` is the folder of its pictures.

    Pictures are named relative to ``out``'s folder where ``images`` lies below it, otherwise by their whole path, so
    that the file can be moved without them. ``validate`` checks that they exist.
    """
    done = Converted()
    below = images.resolve().is_relative_to(out.resolve().parent)
    with whole_file(out) as file:
        for triple in read_official(official, wrong, done.leave_out):
            placed = replace(triple, images=tuple(str(images.resolve() / name) for name in triple.images))
            if below:
                placed = moved(triple, images, out.parent)
            file.write(placed.to_json() + "\n")
            done.triples += 1
            done.with_rejected += bool(triple.rejected)
            done.with_pictures += bool(triple.images)
            progress(1)
    return done
