"""The README of a bundle: what it is, its files, its proof, a worked example, and programs that run it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from phantom_edge.bundle.folder import Bundle
from phantom_edge.bundle.golden import read_golden
from phantom_edge.bundle.manifest import Manifest
from phantom_edge.bundle.part import Part

README = "README.md"
KILOBYTE = 1000
SHORTEST_RUN = 3
"""Minimum number of equal token ids that are written as one."""

TEXT = """\
# {model} for {title}

A model that answers questions about pictures, exported by {made_by} for target `{target}`. `phantom.json` holds
everything that a program needs to run it; "The bundle format, version 2" (`docs/bundle-format.md` of phantom-edge)
explains it.

| | |
|---|---|
{about}

## Files

| file | MB |
|---|---:|
{files}

| part | file | computes in | weights, MB | runs on |
|---|---|---|---|---|
{parts}

## Proof

Export compares a bundle with its checkpoint in float32 before it is written: image tokens, the logits at every position
of prompts, and the tokens of greedy answers. `proof.json` holds every check with its value and its bound; a bundle
without this file is *unverified*.{unproved} `phantom-edge inspect FOLDER` sums it up.

To check a bundle on another machine: `phantom-edge verify FOLDER --golden` runs the questions in `golden/`, which also
hold the checkpoint's own numbers for an app's self-test. `files` in `phantom.json` has the SHA-256 of every file.
{example}
{own}"""

EXAMPLE = """
## Worked example

A program that computes these token ids from this picture and question has the prompt right:

| | |
|---|---|
| picture | `{picture}` |
| question | {question} |
| prompt, with a mark in the picture's place | `{prompt}` |
| token ids, {count} | `{ids}` |
| answer | {answer} |
"""


@dataclass(frozen=True)
class Example:
    """A question about a picture, its prompt (with a mark in the picture's place), its token ids, and the answer."""

    picture: str
    question: str
    prompt: str
    ids: Sequence[int]
    answer: str


def example_of(bundle: Bundle) -> Example | None:
    """Returns the first golden question about one picture; None where no picture fits into the cache."""
    golden = read_golden(bundle)
    for one in golden.questions:
        if len(one.pictures) == 1:
            picture = golden.pictures[one.pictures[0]].file
            return Example(picture, one.question, one.prompt, one.ids, one.answer.text)
    return None


def readme_of(manifest: Manifest, title: str, own: str, *, unproved: str = "", example: Example | None = None) -> str:
    """Returns the text of ``README.md``; ``own`` is the target's part.

    ``manifest`` lists every other file. ``unproved`` is the reason why nothing is compared at export, or "".
    """
    return TEXT.format(
        model=manifest.model.name,
        title=title,
        made_by=manifest.made_by,
        target=manifest.target,
        about="\n".join(f"| {name} | {value} |" for name, value in _about(manifest)),
        files="\n".join(f"| {name} | {megabytes(file.bytes)} |" for name, file in sorted(manifest.files.items())),
        parts="\n".join(f"| {name} | {_part(part)} |" for name, part in manifest.parts.items()),
        unproved=f" This one could not be compared at export: {unproved}." if unproved else "",
        example="" if example is None else _worked(example),
        own=own,
    )


def megabytes(size: int) -> str:
    """Returns a size in MB (1,000,000 bytes), to the kilobyte."""
    return f"{size / 1e6:,.3f}" if size >= KILOBYTE / 2 else "< 0.001"


def shortened(ids: Sequence[int]) -> str:
    """Returns token ids as a list, in which a run of equal ones is written once with its length."""
    pieces: list[str] = []
    for token, run in groupby(ids):
        count = len(list(run))
        pieces += [f"({count} x {token})"] if count >= SHORTEST_RUN else [str(token)] * count
    return f"[{', '.join(pieces)}]"


def _about(manifest: Manifest) -> list[tuple[str, str]]:
    model, integers, pictures, cache = manifest.model, manifest.integers, manifest.pictures, manifest.cache
    most = pictures.max_tiles + (pictures.thumbnail and pictures.max_tiles > 1)
    weights = "floats, not quantized"
    if integers is not None:
        counts = ", ".join(f"{count} of {scheme}" for scheme, count in integers.weights.items())
        weights = f"recipe {integers.recipe} ({integers.algorithm}): {counts}"
    rows = [
        ("licence of the weights", model.license or "not stated by the checkpoint"),
        ("intended use", model.uses or "not stated by the checkpoint"),
        ("not for", model.out_of_scope or "not stated by the checkpoint"),
        ("shape", f"{model.layers} layers of {model.hidden_size:,}, {model.vocab_size:,} token ids ({model.family})"),
        ("weights", weights),
        ("context", f"{cache.max_context:,} tokens of prompt and answer, {cache.bytes_per_token:,} bytes each"),
        ("pictures", f"1 to {most} tiles of {pictures.tile_size} pixels, {pictures.tokens_per_tile} tokens each"),
    ]
    if model.card is not None:
        rows.append(("model card", f"`{model.card}`"))
    return [(name, _cell(value)) for name, value in rows]


def _part(part: Part) -> str:
    where = f"`{part.file}`" + (f", `{part.function}`" if part.function else "")
    shown = {kind: size for kind, size in part.weight_bytes.items() if size >= KILOBYTE}
    weights = ", ".join(f"{kind} {megabytes(size)}" for kind, size in shown.items()) or "shared"
    device = "-" if part.delegation is None else f"{part.delegation.backend}, {part.delegation.share:.0%}"
    return " | ".join((where, part.precision, weights, device))


def _worked(example: Example) -> str:
    return EXAMPLE.format(
        picture=example.picture,
        question=_cell(example.question),
        prompt=_cell(example.prompt),
        count=len(example.ids),
        ids=shortened(example.ids),
        answer=_cell(example.answer),
    )


def _cell(text: str) -> str:
    """Returns a text as one cell of a table."""
    return text.replace("|", "\\|").replace("\n", "\\n")
