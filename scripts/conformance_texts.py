"""Texts, tokens and streams of the conformance data: a part of conformance.py."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from phantom_edge.models.shipped import NANO
from phantom_edge.runtime.text import Streamed

TEXTS, STREAMS, STREAM_TOKENS = 300, 60, 24
"""Number of texts, of streams for each tokenizer, and most tokens of one."""

QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
"""Rule for words of Qwen2's tokenizer, which official checkpoints of 0.5B have."""

SPACE = "\u2581"
SPECIAL = ("<|im_start|>", "<|im_end|>", "<img>", "<IMG_CONTEXT>", "</img>")

WRITTEN = (
    *(
        "",
        " ",
        "  ",
        "\n",
        "\t\n \r\n",
        "a",
        "A",
        "What is in the picture?",
        "It's what they'll've said, I'D say: 'S 's",
    ),
    *(
        "don't DON'T don\u017ft we'RE",
        "price: 12,345.67 EUR (3 for 2)",
        "x=1;y=2\n\n\nif (x) {\n    y();\n}\n",
        "…—“quoted”",
    ),
    *(
        "Où est le café ?",
        "Ärger über Öl",
        "e\u0301 \u00e9 \u1e9b\u0323 ﬁ ½ ² ①",
        "naïve Å \u212b \u212a",
        "ς Σ σ ß ẞ İ \u0131",
    ),
    *(
        "日本語のテキスト、漢字とかな。",
        "한국어 텍스트",
        "नमस्ते दुनिया",
        "مرحبا بالعالم",
        "שלום",
        "Привет, мир!",
        "ไทยคำ",
    ),
    *(
        "🙂",
        "🙂🙃 👩‍👩‍👧‍👦 🇩🇪 👍🏽",
        "\u200b\u200d\ufeff\u00ad\u2060",
        "a\u00a0b\u2009c\u3000d\u2028e\u0085f",
        "\x00\x01\x1f\x7f",
    ),
    *(
        "<|im_start|>user\nhi<|im_end|>\n",
        "<|im_start|",
        "<img><IMG_CONTEXT></img>",
        " <|im_end|> ",
        "<<img>>",
        "</img>x",
    ),
    *(
        "▁under",
        "_a_",
        "a▁b",
        "<0x41>",
        "<0xE2><0x96>",
        "\U0001f9ff\U00010348",
        "a" * 400,
        "ab" * 200,
        " " * 90,
        "\n" * 33,
    ),
    *(
        "1234567890",
        "٠١٢٣ ๔๕ Ⅷ ½",
        "C++ & C# @home #1 $5 50% ^_^ ~/x \\n",
        "http://a.example/b?c=d&e=f",
        "\ud7ff\ue000\ufffd\uffff",
    ),
)
LETTERS = "aeiostnrlABCXYZ0189 \t\n.,;:!?'\"-_<>|/()[]{}éüñßøŁ漢字あ한ไह🙂👍\u0301\u200d\u00a0\u3000\u017f\u212aﬁ▁"
PIECES = ("<|im_start|>", "<img>", "</img>", "'s", "'LL", " the ", "\r\n", "   ", "<0x0A>", "picture", "12")


def texts() -> list[str]:
    """Written texts, and random ones from letters and pieces of every kind."""
    own, found = random.Random(24), [*WRITTEN]
    while len(found) < TEXTS:
        length = own.randint(1, 40)
        found.append("".join(own.choice(PIECES) if own.random() < 0.15 else own.choice(LETTERS) for _ in range(length)))
    return found


def qwen() -> Tokenizer:
    """Bytes and merges learned here, with the steps of Qwen2's tokenizer."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(texts(), trainer)
    tokenizer.add_special_tokens([AddedToken(one, normalized=False) for one in SPECIAL])
    return tokenizer


def gpt2() -> Tokenizer:
    """GPT-2's rule for words and a space before a text; tokens that take their spaces along, or stand alone."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(texts(), trainer)
    tokenizer.add_tokens([AddedToken("picture", single_word=True), AddedToken("the", lstrip=True, rstrip=True)])
    tokenizer.add_special_tokens([AddedToken(one, normalized=False, lstrip=True) for one in SPECIAL])
    return tokenizer


def llama() -> Tokenizer:
    """Letters, single bytes for those that it lacks, and a space before every text, as Phi-3's tokenizer has them."""
    learned = Tokenizer(models.BPE())
    learned.normalizer = normalizers.Replace(" ", SPACE)
    trainer = trainers.BpeTrainer(vocab_size=400, limit_alphabet=60, show_progress=False)
    learned.train_from_iterator(WRITTEN[:20], trainer)
    model = json.loads(learned.to_str())["model"]
    words = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *model["vocab"]]
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys(words))}
    merges = [tuple(one) for one in model["merges"]]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([AddedToken(one, normalized=False) for one in ("<unk>", "<s>", "</s>", *SPECIAL)])
    tokenizer.add_tokens([AddedToken("  spaces", normalized=True)])
    return tokenizer


def collapsing() -> Tokenizer:
    """The steps that SentencePiece models of InternLM2 get; see phantom_edge.processing.sentencepiece_model."""
    tokenizer = llama()
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(Regex(r"\A +"), ""),
            normalizers.Replace(Regex(" {2,}"), " "),
            normalizers.Prepend(" "),
            normalizers.Replace(" ", SPACE),
            normalizers.Replace(Regex(SPACE + r"+\z"), ""),
        ]
    )
    return tokenizer


def streams(tokenizer: Tokenizer) -> list[dict[str, Any]]:
    """Random tokens, single bytes above all, with the pieces in which they are streamed."""
    own, size = random.Random(7), tokenizer.get_vocab_size()
    single = [
        number for word, number in sorted(tokenizer.get_vocab().items()) if len(word) == 1 or word.startswith("<0x")
    ]
    found = []
    for _ in range(STREAMS):
        chosen = range(own.randint(0, STREAM_TOKENS))
        ids = [own.choice(single) if own.random() < 0.6 else own.randrange(size) for _ in chosen]
        stream = Streamed(tokenizer)
        pieces = [*map(stream.add, ids), stream.rest()]
        found.append({"ids": ids, "pieces": [one for one in pieces if one], "text": stream.text})
    return found


def write_texts(folder: Path) -> dict[str, Any]:
    """Writes tokenizers of each kind. Returns texts with their ids, and streams, for each."""
    folder.mkdir(parents=True)
    shutil.copy(NANO / "tokenizer.json", folder / "nano.json")
    for name, make in (("qwen", qwen), ("gpt2", gpt2), ("llama", llama), ("collapsing", collapsing)):
        make().save(str(folder / f"{name}.json"))
    every, found = texts(), {}
    for path in sorted(folder.glob("*.json")):
        tokenizer = Tokenizer.from_file(str(path))
        ids = [tokenizer.encode(one, add_special_tokens=False).ids for one in every]
        decoded = [tokenizer.decode(one, skip_special_tokens=True) for one in ids]
        found[path.stem] = {"ids": ids, "decoded": decoded, "streams": streams(tokenizer)}
    return {"texts": every, "tokenizers": found}
