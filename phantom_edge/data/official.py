"""The dataset that was released with Phantom (``BK-Lee/Phantom`` on the hub), as triples.

Known: it is one file, ``Phantom.json`` of 2.65 GB, with about 2.0 million entries. A reader that the same
authors published for the dataset before (``check_dataset.py`` of Meteor) takes from an entry ``id``, ``image`` (a path
below the folder of datasets; absent where the question is text alone) and ``conversations``, whose turns hold a text
under ``value``, and finds a further text under a key of its own in the turn of the answer.

NOT known, because neither the file nor its training code was at hand: the name of the wrong answer. Every name of
``WRONG`` is accepted, in the answer's turn or beside ``conversations``; any other can be given.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from phantom_edge.data.triples import Triple, triple_of
from phantom_edge.foundation.errors import EdgeError, need
from phantom_edge.foundation.json_file import regular
from phantom_edge.processing.prompt import IMAGE_MARK

WRONG = (
    "rejected",
    "rejected_answer",
    "reject",
    "wrong",
    "wrong_answer",
    "incorrect",
    "incorrect_answer",
    "negative",
    "negative_answer",
    "ambiguous_answer",
)
HUMAN, MODEL = ("human", "user"), ("gpt", "assistant")


def read_official(
    path: Path, wrong: str | None = None, fault: Callable[[int, str], None] | None = None
) -> Iterator[Triple]:
    """Yields the triples of an official file, one for each answer of each entry, so every turn has its own.

    ``wrong`` names the field of the wrong answer where it is none of ``WRONG``; an entry without one gives triples
    without ``rejected``. Pictures are named as the entry names them. A faulty entry raises EdgeError, or is left
    out and passed to ``fault`` by number and problem. JSON lines of the same entries are read as well.
    """
    names = (wrong,) if wrong else WRONG
    for number, entry in enumerate(_entries(path), start=1):
        try:
            triples = list(_triples(entry, names))
        except ValueError as error:
            if fault is None:
                raise EdgeError(f"{path}, entry {number} {error}", "fix or remove the entry") from None
            fault(number, str(error))
            continue
        yield from triples


def _entries(path: Path) -> Iterator[object]:
    ijson = need("ijson", "curate")
    try:
        with regular(path).open("rb") as file:
            is_list = _first_letter(file) == b"["
            yield from ijson.items(file, "item" if is_list else "", multiple_values=not is_list)
    except FileNotFoundError:
        raise EdgeError(f"there is no file {path}", "give the path of the dataset's JSON file") from None
    except (ijson.JSONError, UnicodeDecodeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise EdgeError(f"{path} is damaged or cut short: {reason}", "copy or download it again") from error


def _first_letter(file: IO[bytes]) -> bytes:
    """Returns the first byte that is no space; the file is then at its start again."""
    while (letter := file.read(1)).isspace():
        pass
    file.seek(0)
    return letter


def _triples(entry: object, names: tuple[str, ...]) -> Iterator[Triple]:
    if not isinstance(entry, dict):
        raise ValueError("is not a JSON object")
    turns = entry.get("conversations")
    if not isinstance(turns, list) or not turns or not all(isinstance(turn, dict) for turn in turns):
        raise ValueError(f"has no conversations; its fields are {', '.join(map(str, entry)) or 'none'}")
    images = _texts(entry.get("image"), "image")
    rounds = list(_rounds(turns))
    for question, _ in rounds:
        if question.count(IMAGE_MARK) not in (0, len(images)):
            raise ValueError(f"has {len(images)} pictures, but not as many {IMAGE_MARK} marks")
    for question, answer in rounds:
        last = answer is rounds[-1][1]
        rejected = _wrong(answer, names) or (_wrong(entry, names) if last else ())
        texts = {"question": _unmarked(question), "chosen": _text(answer.get("value"))}
        yield triple_of({**texts, "rejected": list(rejected), "image": list(images)})


def _rounds(turns: list[dict[str, object]]) -> Iterator[tuple[str, dict[str, object]]]:
    """Yields each question with the turn that answers it."""
    if len(turns) % 2:
        raise ValueError(f"has {len(turns)} turns, so one is without its answer")
    for asked, answered in zip(turns[::2], turns[1::2], strict=True):
        if asked.get("from") not in HUMAN or answered.get("from") not in MODEL:
            raise ValueError(f"has turns from {asked.get('from')} and {answered.get('from')}, not human and gpt")
        yield _text(asked.get("value")), answered


def _unmarked(question: str) -> str:
    """Removes a mark at the start or the end, as pictures come first anyway. Marks amid the words stay."""
    bare = question.strip()
    if bare.count(IMAGE_MARK) == 1 and (bare.startswith(IMAGE_MARK) or bare.endswith(IMAGE_MARK)):
        return bare.replace(IMAGE_MARK, "").strip()
    return bare


def _wrong(holder: dict[str, object], names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if holder.get(name) is not None:
            value = holder[name]
            turns = value if isinstance(value, list) else [value]
            return _texts([turn.get("value") if isinstance(turn, dict) else turn for turn in turns], name)
    return ()


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("has a turn without text")
    return value


def _texts(value: object, name: str) -> tuple[str, ...]:
    values = [] if value is None else value if isinstance(value, list) else [value]
    if not all(isinstance(text, str) for text in values):
        raise ValueError(f"has a {name} that is neither a text nor a list of texts")
    return tuple(values)
