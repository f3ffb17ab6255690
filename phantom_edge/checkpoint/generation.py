"""Settings by which a checkpoint chooses tokens, read here for checkpoint and bundle alike.

Six settings of ``generation_config.json`` and the stop tokens are *carried*: a bundle holds them, and every engine and
the checkpoint itself apply them. All other settings that change answers are *ignored* by both: the caller's own count.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from transformers import GenerationConfig

from phantom_edge.bundle.numbers import MOST_CONTEXT
from phantom_edge.bundle.prompt import LEAST_PENALTY, MOST_PENALTY, Generation
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.json_file import read_json
from phantom_edge.models.config import PhantomConfig

FILE = "generation_config.json"
STOPS = "eos_token_id"
LENGTHS = ("no_repeat_ngram_size", "min_length", "min_new_tokens")
TOKENS = ("suppress_tokens", "begin_suppress_tokens")

NEUTRAL: dict[str, tuple[object, ...]] = {
    "assistant_ensemble_weight": (),
    "bad_words_ids": (),
    "cache_implementation": ("dynamic", "static", "offloaded", "offloaded_static", "hybrid"),
    "constraints": (),
    "diversity_penalty": (0,),
    "do_sample": (False,),
    "dola_layers": (),
    "early_stopping": (False,),
    "encoder_no_repeat_ngram_size": (0,),
    "encoder_repetition_penalty": (1,),
    "epsilon_cutoff": (0,),
    "eta_cutoff": (0,),
    "exponential_decay_length_penalty": (),
    "force_words_ids": (),
    "forced_bos_token_id": (),
    "forced_eos_token_id": (),
    "guidance_scale": (1,),
    "length_penalty": (1,),
    "max_length": (20,),
    "max_new_tokens": (),
    "max_time": (),
    "min_p": (0,),
    "num_beam_groups": (1,),
    "num_beams": (1,),
    "num_return_sequences": (1,),
    "penalty_alpha": (0,),
    "remove_invalid_values": (False,),
    "renormalize_logits": (False,),
    "sequence_bias": (),
    "stop_strings": (),
    "temperature": (1,),
    "token_healing": (False,),
    "top_h": (),
    "top_k": (50,),
    "top_p": (1,),
    "typical_p": (1,),
    "watermarking_config": (),
}
"""Ignored settings, by transformers' names, and their values that change no answer; null is always one of these."""


@dataclass(frozen=True)
class Carried:
    """What counts of a checkpoint's settings, and what does not.

    ``stop_tokens`` are those of generation_config.json and config.json together, without repeats; ``ignored`` are
    settings that would change answers, by transformers' names.
    """

    generation: Generation
    stop_tokens: tuple[int, ...]
    ignored: dict[str, Any]

    def note(self) -> str:
        """One line that names the ignored settings, empty where there are none."""
        found = ", ".join(f"{name} {value!r}" for name, value in self.ignored.items())
        return found and f"ignored of {FILE}, by checkpoint and bundle alike: {found}"


def read_carried(folder: Path, config: PhantomConfig) -> Carried:
    """Settings of a folder whose config is ``config``. Raises EdgeError for impossible ones."""
    return carried(read_generation_config(folder, config) or GenerationConfig(), config, folder)


def read_generation_config(folder: Path, config: PhantomConfig) -> GenerationConfig | None:
    """The ``generation_config.json`` of a folder, None where there is none.

    Ids given as texts are numbers in it, and ids that it lacks are those of ``config``: without a stop token,
    generation would never end. Raises EdgeError for a damaged file and for impossible settings.
    """
    path = folder / FILE
    if not os.path.lexists(path):
        return None
    document = read_json(path)
    for name in (STOPS, *TOKENS):
        if name in document:
            document[name] = _numbers(document[name], f"{path}: {name}", folder)
    try:
        found = GenerationConfig.from_dict(document)
    except (TypeError, ValueError, AttributeError) as error:
        raise EdgeError(
            f"{path}: {' '.join(str(error).split())}", "correct it or remove it: config.json suffices"
        ) from error
    if found.repetition_penalty is not None:
        found.repetition_penalty = _penalty(found.repetition_penalty, f"{path}: repetition_penalty")
    for name in (STOPS, "pad_token_id"):
        if getattr(found, name) is None:
            setattr(found, name, getattr(config, name))
    carried(found, config, folder)
    return found


def fix_stop_tokens(config: PhantomConfig, folder: Path) -> None:
    """Turns stop tokens that ``config`` gives as texts into ids. Raises EdgeError for a text that is no token."""
    config.eos_token_id = _numbers(config.eos_token_id, f"{folder / 'config.json'}: {STOPS}", folder)


def carried(settings: GenerationConfig, config: PhantomConfig, folder: Path | None = None) -> Carried:
    """Settings that count of a model's two configs. Raises EdgeError for impossible ones; ``folder`` is for messages.

    As in transformers, ``min_new_tokens`` replaces ``min_length`` where a file has both.
    """
    given: dict[str, Any] = settings.to_dict()
    place, about = (f"{folder / name}: " if folder else f"{name}: " for name in (FILE, "config.json"))
    words = config.text.vocab_size
    ngram, total, new = (_length(given.get(name), place + name) for name in LENGTHS)
    suppressed, at_begin = (_tokens(given.get(name), place + name, words) for name in TOKENS)
    if len(suppressed) == words:
        raise EdgeError(f"{place}suppress_tokens has all {words:,} tokens", "leave some to answer with")
    penalty = given.get("repetition_penalty")
    generation = Generation(
        repetition_penalty=1.0 if penalty is None else _penalty(penalty, f"{place}repetition_penalty"),
        no_repeat_ngram=ngram,
        min_length=total if given.get("min_new_tokens") is None else 0,
        min_new_tokens=new,
        suppress_tokens=suppressed,
        begin_suppress_tokens=at_begin,
    )
    stops = {*_tokens(given.get(STOPS), place + STOPS, words), *_tokens(config.eos_token_id, about + STOPS, words)}
    return Carried(generation, tuple(sorted(stops)), ignored(given))


def ignored(given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that would change answers and do not count."""
    return {
        name: given[name]
        for name, neutral in NEUTRAL.items()
        if given.get(name) is not None and not any(given[name] == value for value in neutral)
    }


def _penalty(value: object, place: str) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not LEAST_PENALTY <= cast("float", value) <= MOST_PENALTY:
        remedy = f"give a number from {LEAST_PENALTY:g} to {MOST_PENALTY:g}; 1 changes nothing"
        raise EdgeError(f"{place} is {_shown(value)}", remedy)
    return float(cast("float", value))


def _length(value: object, place: str) -> int:
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MOST_CONTEXT:
        raise EdgeError(f"{place} is {_shown(value)}", f"give a whole number from 0 (off) to {MOST_CONTEXT}")
    return value


def _tokens(value: object, place: str, words: int) -> tuple[int, ...]:
    """Distinct ids from one id or a list of them."""
    listed = [] if value is None else value if isinstance(value, list | tuple) else [value]
    found: set[int] = set()
    for one in listed:
        if not isinstance(one, int) or isinstance(one, bool) or not 0 <= one < words:
            raise EdgeError(f"{place} has {_shown(one)}, and the tokens are 0 to {words - 1:,}", "correct or remove it")
        found.add(one)
    return tuple(sorted(found))


def _numbers(value: Any, place: str, folder: Path) -> Any:
    """The same id or list of ids, with texts turned into ids by the folder's tokenizer."""
    if isinstance(value, list | tuple):
        return [_number(one, place, folder) if isinstance(one, str) else one for one in value]
    return _number(value, place, folder) if isinstance(value, str) else value


def _number(text: str, place: str, folder: Path) -> int:
    """The id of a decimal string or of a token's text."""
    from phantom_edge.processing.tokenizer import load_tokenizer

    if text.isascii() and text.isdigit() and len(text) < 10:
        return int(text)
    try:
        tokenizer = load_tokenizer(folder)
    except EdgeError as error:
        raise EdgeError(f"{place} is {_shown(text)}, and {error.problem}", "give the token's number") from error
    known = tokenizer.get_vocab().get(text)
    if known is not None:
        return int(known)
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    if len(ids) != 1 or tokenizer.decode(ids) != text:
        raise EdgeError(f"{place} is {_shown(text)}, which is no token of the tokenizer", "give the token's number")
    return ids[0]


def _shown(value: object) -> str:
    return f"{value!r:.60}"
