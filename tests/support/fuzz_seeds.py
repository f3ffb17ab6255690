"""Bytes for fuzzers to begin with: small real artifacts, made in a folder."""

import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

from fuzz_targets import ABOUT, CORPORA, LARGEST_SEED, MODEL, quantized_checkpoint

from phantom_edge.bundle.manifest import MANIFEST
from phantom_edge.data.journal import KEPT, Journal, Outcome
from phantom_edge.models.shipped import NANO
from phantom_edge.processing.prompt import CHAT_TEMPLATES
from phantom_edge.profile.measure.lines import Gathering


def manifests(desk: Path) -> Iterator[bytes]:
    """Of a tiny bundle."""
    from bundles import tiny_bundle

    document = json.loads((tiny_bundle(desk, context=64) / MANIFEST).read_text("utf-8"))
    yield json.dumps(document).encode()


def mil_programs(desk: Path) -> Iterator[bytes]:
    """With a compressed weight, a state, and operators of several kinds."""
    import numpy as np
    from mil_programs import FP16, function, mb, save, types

    def body(x, memory):  # type: ignore[no-untyped-def]
        integers = (np.arange(32 * 16) % 15 - 7).reshape(16, 32).astype(types.np_int4_dtype)
        weight = mb.constexpr_blockwise_shift_scale(data=integers, scale=np.full((16, 2), 0.5, np.float16))
        y = mb.linear(x=x, weight=weight, bias=np.linspace(0, 1, 16, dtype=np.float16), name="product")
        new = mb.coreml_update_state(state=memory, value=mb.add(x=mb.read_state(input=memory), y=y))
        parts = mb.split(x=mb.gelu(x=new), num_splits=2, axis=-1)
        joined = mb.concat(values=[mb.transpose(x=one, perm=[1, 0]) for one in parts], axis=0)
        return mb.softmax(x=mb.slice_by_index(x=joined, begin=[0, 0], end=[8, 2]), axis=-1, name="out")

    made = function({"x": ((2, 32), FP16)}, body, states={"memory": ((2, 16), FP16)})
    package = save(desk / "p.mlpackage", {"main": made})
    (CORPORA / "weight.bin").write_bytes((package / MODEL).with_name("weights").joinpath("weight.bin").read_bytes())
    yield (package / MODEL).read_bytes()


def pte_programs(_desk: Path) -> Iterator[bytes]:
    """With a delegate of integers, and without one."""
    import torch
    from executorch_programs import program_of

    from phantom_edge.checkpoint.quantized.schemes import SCHEMES
    from phantom_edge.export.targets.executorch.linear import RoundedLinear
    from phantom_edge.quantize.rounding import nearest

    weight = torch.randn(8, 32, generator=torch.Generator().manual_seed(0))
    yield bytes(program_of(RoundedLinear(nearest(weight, SCHEMES["int8"])), torch.zeros(1, 2, 32)).buffer)
    yield bytes(program_of(torch.nn.LayerNorm(8), torch.zeros(1, 2, 8)).buffer)


def quantizations(_desk: Path) -> Iterator[bytes]:
    """Of the tiny quantized checkpoint."""
    document = json.loads((quantized_checkpoint(os.getpid()) / "quantization.json").read_text("utf-8"))
    yield json.dumps(document).encode()
    document["weights"] = dict(list(document["weights"].items())[:2])
    yield json.dumps(document).encode()


def tokenizers(_desk: Path) -> Iterator[bytes]:
    """The model inside's, small ones of other kinds, and a SentencePiece model."""
    import sentencepiece
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    yield json.dumps(json.loads((NANO / "tokenizer.json").read_text("utf-8")))[:LARGEST_SEED].encode()
    for model in (
        models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]"),
        models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")]),
        models.Unigram([("<unk>", 0.0), ("a", -1.0)], 0),
        models.WordPiece({"[UNK]": 0, "a": 1, "##b": 2}, unk_token="[UNK]"),
    ):
        made = Tokenizer(model)
        made.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
        made.pre_tokenizer = pre_tokenizers.ByteLevel()
        made.add_special_tokens(["<img>"])
        yield made.to_str().encode()
    model_file = io.BytesIO()
    words = ["the red pear lies beside a blue cup", "what is the price of the small cup"] * 20
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(words),
        model_writer=model_file,
        vocab_size=60,
        model_type="bpe",
        minloglevel=3,
        normalization_rule_name="identity",
    )
    yield model_file.getvalue()


def templates(_desk: Path) -> Iterator[bytes]:
    """Those of the released models, and one with most of what templates use."""
    yield from (text.encode() for text in CHAT_TEMPLATES.values())
    yield (
        b"{%- set n = namespace(x=0) -%}{%- for m in messages -%}{%- if loop.first and m.role != 'user' -%}"
        b"{{ raise_exception('begin with ' ~ m.role) }}{%- endif -%}{%- generation -%}{{ m.content | tojson | trim }}"
        b"{%- endgeneration -%}{%- set n.x = n.x + 1 -%}{%- endfor -%}{{ strftime_now('%Y') }}{{ dict(a=n.x) }}"
    )


def lines_of_triples(_desk: Path) -> Iterator[bytes]:
    """With pictures, kinds and several wrong answers."""
    from file_victims import TRIPLES

    lines = [triple.to_json() for triple in TRIPLES]
    yield from (line.encode() for line in lines)
    yield "\n".join(["\ufeff" + lines[0], "", *lines[1:], '{"question": 1}']).encode()


def journals(desk: Path) -> Iterator[bytes]:
    """With outcomes of each kind."""
    with Journal(desk / "j", 4, ABOUT) as begun:
        begun.add(0, Outcome(KEPT, "blue", prompt_tokens=3, completion_tokens=1))
        begun.add(1, Outcome("failed", reason="no answer within 60 s"))
    yield (desk / "j").read_bytes()


def pictures(_desk: Path) -> Iterator[bytes]:
    """In each format that Pillow writes here, small, and of several modes."""
    from noise import noise
    from PIL import Image

    small = noise((12, 9), 70)
    formats = {"PNG": {}, "JPEG": {}, "GIF": {}, "BMP": {}, "TIFF": {}, "WEBP": {}, "PPM": {}, "TGA": {}, "ICO": {}}
    for name in (*formats, "AVIF", "JPEG2000"):
        file = io.BytesIO()
        try:
            small.save(file, name)
        except (KeyError, OSError):  # a Pillow without that encoder
            continue
        yield file.getvalue()
    for mode in ("RGBA", "P", "I;16", "1", "CMYK"):
        file = io.BytesIO()
        exif = Image.Exif()
        exif[0x0112] = 6
        small.convert("L" if mode == "I;16" else mode).convert(mode).save(
            file, "TIFF" if mode == "CMYK" else "PNG", exif=exif
        )
        yield file.getvalue()


def profile_lines(_desk: Path) -> Iterator[bytes]:
    """All of a whole profile."""
    from profiles import make_run

    told: list[str] = []
    gathering = Gathering(lambda _kind, line: told.append(line))
    run = make_run(repeats=3)
    gathering.record("device", run.device)
    gathering.record("subject", run.subject)
    for kind, values in (("stage", run.stages), ("depth", run.depths), ("answer", run.answers)):
        for value in values:
            gathering.record(kind, value)
    gathering.record("reading", run.readings[0])
    gathering.record("energy", run.energy)
    gathering.record("end", 1)
    yield "\n".join(told).encode()


def tars(desk: Path) -> Iterator[bytes]:
    """Plain and compressed, with long names and a picture."""
    from file_victims import TRIPLES
    from noise import noise

    noise((4, 4), 70).save(desk / "a.png")
    for mode, tar_format in (("w", tarfile.GNU_FORMAT), ("w:gz", tarfile.PAX_FORMAT)):
        held = io.BytesIO()
        with tarfile.open(fileobj=held, mode=mode, format=tar_format) as made:  # type: ignore[call-overload]
            content = TRIPLES[1].to_json().encode()
            about = tarfile.TarInfo("deep/" * 30 + "0.json")
            about.size = len(content)
            made.addfile(about, io.BytesIO(content))
            made.add(desk / "a.png", "0.png")
        yield held.getvalue()


SEEDS: dict[str, Callable[[Path], Iterator[bytes]]] = {
    "manifest": manifests,
    "mil": mil_programs,
    "pte": pte_programs,
    "quantization": quantizations,
    "tokenizer": tokenizers,
    "template": templates,
    "triples": lines_of_triples,
    "journal": journals,
    "pictures": pictures,
    "lines": profile_lines,
    "tar": tars,
}
"""By the names of the readers."""
