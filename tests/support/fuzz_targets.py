"""Readers to fuzz.

A target takes any bytes. It raises nothing but what is a fault of ours: an EdgeError, clear and in one line, is the
right answer to most bytes.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from phantom_edge.bundle.folder import Bundle
from phantom_edge.bundle.manifest import MANIFEST
from phantom_edge.bundle.seal import sealed_text
from phantom_edge.data.journal import KEPT, Journal, Outcome
from phantom_edge.data.sources import rows_of
from phantom_edge.data.triples import parse_line
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.json_file import parse_json
from phantom_edge.processing.chat_template import ChatTemplate, TemplateFault
from phantom_edge.processing.images import open_image
from phantom_edge.processing.sentencepiece_model import build_tokenizer, read_model
from phantom_edge.processing.tokenizer_faults import PROBE, one_line_faults
from phantom_edge.profile.measure.lines import Gathering
from phantom_edge.profile.result import read_run, write_run

CORPORA = Path(__file__).resolve().parents[1] / "fuzz"
"""Folders of small files, one for each target, which ``python scripts/fuzz.py --seeds`` makes."""

LARGEST_SEED = 24_000
"""Bytes of a file in the corpora."""


@contextmanager
def refused_clearly() -> Iterator[None]:
    """Lets an EdgeError pass where it is one line with a remedy."""
    try:
        yield
    except EdgeError as error:
        assert error.problem and error.remedy and error.problem.isprintable() and len(error.problem) < 5000, error


def manifest(desk: Path, data: bytes) -> None:
    """A bundle's manifest: as it is, and with a seal that fits, which leads to the checks behind it."""
    (desk / MANIFEST).write_bytes(data)
    with refused_clearly():
        Bundle.unchecked(desk)
    try:
        document = parse_json(data)
        text = sealed_text(document) if isinstance(document, dict) else ""
        (desk / MANIFEST).write_text(text, encoding="utf-8")
    except ValueError:
        return
    with refused_clearly():
        Bundle.unchecked(desk)


MODEL = "Data/com.apple.CoreML/model.mlmodel"


def mil(desk: Path, data: bytes) -> None:
    """The program of a Core ML package, beside weights of zeros."""
    from phantom_edge.export.interpreters.mil import Interpreter, Package

    model = desk / MODEL
    (model.parent / "weights").mkdir(parents=True, exist_ok=True)
    model.write_bytes(data)
    item = {"path": "com.apple.CoreML/model.mlmodel", "name": "model.mlmodel", "author": "", "description": ""}
    listed = {"fileFormatVersion": "1.0.0", "itemInfoEntries": {"1": item}, "rootModelIdentifier": "1"}
    (desk / "Manifest.json").write_text(json.dumps(listed), encoding="utf-8")
    shutil.copyfile(CORPORA / "weight.bin", model.parent / "weights" / "weight.bin")
    with refused_clearly():
        package = Package.open(desk)
        for name in package.functions:
            Interpreter(package, name)


def pte(desk: Path, data: bytes) -> None:
    """A program of ExecuTorch, with its delegates' payloads."""
    from phantom_edge.export.interpreters.pte.interpreter import Interpreter

    (desk / "p.pte").write_bytes(data)
    with refused_clearly():
        program = Interpreter.open(desk / "p.pte")
        for name in program.program.methods:
            program.method(name)


@cache
def quantized_checkpoint(_process: int) -> Path:
    """A tiny quantized checkpoint."""
    import tempfile

    from victims import quantized

    folder = Path(tempfile.mkdtemp()) / "model"
    quantized(folder)
    return folder


def quantization(desk: Path, data: bytes) -> None:
    """The description of a quantized checkpoint, beside its weights."""
    from phantom_edge.checkpoint.quantized.files import QUANTIZATION, QuantizedFiles

    weights = desk / "model.safetensors"
    if not weights.exists():
        weights.symlink_to(quantized_checkpoint(os.getpid()) / weights.name)
    (desk / QUANTIZATION).write_bytes(data)
    with refused_clearly():
        files = QuantizedFiles.open(desk)
        for name in list(files.schemes)[:4]:
            files.quantized(name).dequantize()


def tokenizer(desk: Path, data: bytes) -> None:
    """A tokenizer of the tokenizers library, or a model of SentencePiece."""
    from tokenizers import Tokenizer

    if data.startswith(b"{"):
        try:
            with one_line_faults():
                encoded = Tokenizer.from_str(data.decode("utf-8", "replace")).encode(PROBE)
                Tokenizer.from_str(data.decode("utf-8", "replace")).decode(encoded.ids)
        except ValueError as error:
            assert "\n" not in str(error)
        return
    (desk / "tokenizer.model").write_bytes(data)
    with refused_clearly():
        build_tokenizer(read_model(desk / "tokenizer.model"), {}).encode(PROBE)


TALK = [
    {"role": "user", "content": "What is it?"},
    {"role": "assistant", "content": [{"type": "text", "text": "a cup"}], "reasoning_content": "hm"},
]


def template(_desk: Path, data: bytes) -> None:
    """A chat template, rendered with its limits."""
    try:
        ChatTemplate(data.decode("utf-8", "replace"), {"bos_token": "<s>"}).render(TALK)
    except TemplateFault as error:
        assert "\n" not in str(error) and len(str(error)) < 500


def triples(desk: Path, data: bytes) -> None:
    """A line comes back from what is written of it; a file of lines is rows, good or faulty."""
    try:
        triple = parse_line(data.decode("utf-8", "replace"))
        assert parse_line(triple.to_json()) == triple
    except ValueError as error:
        assert "\n" not in str(error)
    (desk / "t.jsonl").write_bytes(data)
    with refused_clearly():
        for row in rows_of(desk / "t.jsonl"):
            assert row.sample is not None or row.fault


ABOUT = {"source": "a" * 8, "model": "m"}


def journal(desk: Path, data: bytes) -> None:
    """A journal of a curation, read and continued."""
    path = desk / "j"
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    with refused_clearly():
        with Journal(path, 4, ABOUT) as begun:
            found = [begun[row] for row in range(4)]
            begun.add(2, Outcome(KEPT, "green"))
        with Journal(path, 4, ABOUT) as again:
            assert again[2] == Outcome(KEPT, "green") and [again[row] for row in (0, 1, 3)] == [*found[:2], found[3]]


def picture(_desk: Path, data: bytes) -> None:
    """A picture of any format: upright RGB, or a fault."""
    with refused_clearly():
        image = open_image(data)
        assert image.mode == "RGB" and min(image.size) > 0


def lines(desk: Path, data: bytes) -> None:
    """A device's lines: what was taken is a profile that can be read back."""
    gathering = Gathering()
    for line in data.decode("utf-8", "replace").splitlines():
        with refused_clearly():
            gathering.take(line)
    with refused_clearly():
        run = gathering.run(3, "" if gathering.is_whole else "cut")
        write_run(desk / "run.json", run)
        assert read_run(desk / "run.json") == run


def tar(desk: Path, data: bytes) -> None:
    """A shard: rows, good or faulty."""
    (desk / "t.tar").write_bytes(data)
    with refused_clearly():
        for row in rows_of(desk / "t.tar"):
            assert row.sample is not None or row.fault


TARGETS: dict[str, Callable[[Path, bytes], None]] = {
    "manifest": manifest,
    "mil": mil,
    "pte": pte,
    "quantization": quantization,
    "tokenizer": tokenizer,
    "template": template,
    "triples": triples,
    "journal": journal,
    "pictures": picture,
    "lines": lines,
    "tar": tar,
}
"""Readers: each takes a folder to write to, and the bytes."""
