"""A tokenizer for random checkpoints: reads any text byte by byte, and writes every id as something legible."""

from itertools import count
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from phantom_edge.models.config import PhantomConfig
from phantom_edge.models.families import family_named
from phantom_edge.models.sizes import Size
from phantom_edge.processing.image_processor import PhantomImageProcessor
from phantom_edge.processing.processor import PhantomProcessor
from phantom_edge.processing.prompt import CHAT_TEMPLATES

SYLLABLES = [consonant + vowel for consonant in "bdfghjklmnprstvwz" for vowel in "aeiou"]


def filler(number: int) -> str:
    """A pronounceable word for each ``number``, all different."""
    word = ""
    while True:
        number, rest = divmod(number, len(SYLLABLES))
        word = SYLLABLES[rest] + word
        if number == 0:
            return word
        number -= 1


def make_tokenizer(size: Size) -> PreTrainedTokenizerFast:
    """Bytes, then the marks of ``size`` at their ids, and filler words up to its vocabulary."""
    special = size.special_tokens
    taken = set(special.values())
    words = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *("Ġ" + filler(n) for n in range(size.vocab))]
    free = (number for number in count() if number not in taken)
    vocab = {word: number for word, number in zip(words, free, strict=False) if number < size.vocab}
    tokenizer = Tokenizer(models.BPE(vocab=vocab | special, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in special])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=size.end, pad_token=size.pad, padding_side="left"
    )


def save_processor(size: Size, config: PhantomConfig, folder: Path) -> None:
    """Write tokenizer, chat template and picture settings of a random checkpoint."""
    processor = PhantomProcessor(
        image_processor=PhantomImageProcessor(
            size=config.vision.image_size,
            min_tiles=config.min_tiles,
            max_tiles=config.max_tiles,
            use_thumbnail=config.use_thumbnail,
        ),
        tokenizer=make_tokenizer(size),
        chat_template=CHAT_TEMPLATES[family_named(size.family).prompt],
        tokens_per_tile=config.tokens_per_tile,
    )
    processor.save_pretrained(folder)
