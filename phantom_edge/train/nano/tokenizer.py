"""The byte-level BPE tokenizer of phantom-nano, trained on the scenes' questions and answers."""

from collections.abc import Iterator

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from phantom_edge.data.scenes.questions import ask
from phantom_edge.data.scenes.sample import make_scene
from phantom_edge.models.sizes import Size

SCENES = 4000
"""Scenes whose questions and answers the merges are learned from; all of the train split."""

ENGLISH = """
the of and to in is it you that he was for on are with as his they at be this from have or by one had not but what all
were when we there can an your which their said if do will each about how up out them then she many some so these would
other into has more her two like him see time could no make than first been its who now people my made over did down
only way find use may water long little very after words called just where most know get through back much before go
good new write our used me man too any day same right look think also around another came come work three word must
because does part even place well such here take why help put years different away again off went old number great tell
men say small every found still between name should home big give air line set own under read last never us left end
along while might next sound below saw something thought both few those always show large often together asked house
world going want school important until form food keep children feet land side without boy once animal life enough took
sometimes four head above kind began almost live page got earth need far hand high year mother light country father let
night picture being study second soon story since white ever paper hard near sentence better best across during today
however sure knew try told young sun thing whole hear example heard several change answer room sea against top turned
person woman child face hair wearing holding sitting standing street car table chair cup bottle phone screen button
door window wall floor tree flower dog cat bird photo image wrong broken empty full open closed front behind inside
outside colour color shape size left right yes none nothing something unknown
"""
"""Everyday words beside the scenes' own, so that a user's questions are not read letter by letter."""


def scene_texts(scenes: int = SCENES) -> Iterator[str]:
    """Yields questions and answers of the first training scenes, the turns' own words, and everyday English."""
    yield from ("user\n", "assistant\n", " user", " assistant") * 1000
    yield from (f"{start}{word}" for word in ENGLISH.split() for start in (" ", " ", ""))
    for seed in range(scenes):
        for question in ask(make_scene(seed)):
            yield question.text
            yield from (question.answer, *question.rejected)


def train_tokenizer(size: Size) -> PreTrainedTokenizerFast:
    """Trains special tokens at the ids of ``size``, every byte, and merges up to its vocabulary or whole words.

    Digits stand alone, so that a number is read digit by digit.
    """
    special = sorted(size.special_tokens, key=lambda mark: size.special_tokens[mark])
    assert [size.special_tokens[mark] for mark in special] == list(range(len(special)))
    tokenizer = Tokenizer(models.BPE())
    # As GPT-4 splits, digits one by one: a word with the space before it, runs of punctuation, single digits.
    words = Regex(r" ?\p{L}+| ?[^\s\p{L}\p{N}]+|\p{N}|\s+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(words, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size.vocab,
        special_tokens=[AddedToken(mark, special=True, normalized=False) for mark in special],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(scene_texts(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=size.end, pad_token=size.pad, padding_side="left"
    )
