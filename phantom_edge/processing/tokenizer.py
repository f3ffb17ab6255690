"""A checkpoint's tokenizer from its files alone: remote code is never run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.json_file import read_json
from phantom_edge.processing.prompt import IMAGE_TOKENS
from phantom_edge.processing.sentencepiece_model import build_tokenizer, read_model
from phantom_edge.processing.tokenizer_faults import PROBE, one_line_faults

_NAMED_TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token")


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The fast tokenizer of a folder; see :func:`_read_tokenizer`. Raises EdgeError for missing or damaged files."""
    try:
        with one_line_faults():
            tokenizer = _read_tokenizer(folder)
            tokenizer.encode("")  # some settings are checked only here
            tokenizer.encode(PROBE)
            return tokenizer
    except ValueError as error:
        raise EdgeError(
            f"the tokenizer files of {folder} cannot be read: {error}",
            "download tokenizer_config.json and the files beside it again",
        ) from error


def _read_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Read from the first that is there: ``tokenizer.json``, a SentencePiece ``tokenizer.model`` (InternLM2), or
    ``vocab.json`` and ``merges.txt`` (Qwen2). ``tokenizer.json`` is taken as it stands, whatever class the folder
    names: that is what the models were trained on.
    """
    for name in ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"):
        if (folder / name).is_file():
            read_json(folder / name)  # transformers would end in a traceback of the JSON parser
    if (folder / "tokenizer.json").is_file():
        if "model" not in read_json(folder / "tokenizer.json"):  # the Rust parser's own error cannot be caught
            raise EdgeError(f"{folder / 'tokenizer.json'} describes no tokenizer", "download this file again")
        return PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    if (folder / "tokenizer.model").is_file():
        return _from_sentencepiece(folder)
    if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        from transformers import Qwen2Tokenizer

        read_json(folder / "vocab.json")
        return Qwen2Tokenizer.from_pretrained(folder, local_files_only=True)
    raise EdgeError(
        f"{folder} has no tokenizer",
        "download its tokenizer.json, or its tokenizer.model and tokenizer_config.json",
    )


def fit_tokenizer(tokenizer: PreTrainedTokenizerBase) -> None:
    """Make a tokenizer pad on the left, as generation needs. Raises EdgeError if it lacks the image tokens."""
    check_single_tokens(tokenizer, IMAGE_TOKENS)
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise EdgeError("the tokenizer has no pad token and no eos token", "set tokenizer.pad_token")
        tokenizer.pad_token = tokenizer.eos_token


def check_single_tokens(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[str]) -> None:
    """Raises EdgeError unless each of ``tokens`` is one token of the vocabulary, also inside a text."""
    vocab = tokenizer.get_vocab()
    missing = [token for token in tokens if tokenizer.encode(token, add_special_tokens=False) != [vocab.get(token)]]
    if missing:
        raise EdgeError(
            f"the tokenizer has no token {' and no '.join(missing)}",
            "take the tokenizer of a Phantom checkpoint, with its added_tokens.json and tokenizer_config.json",
        )


def _from_sentencepiece(folder: Path) -> PreTrainedTokenizerBase:
    config: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            config |= read_json(folder / name)
    listed = read_json(folder / "added_tokens.json") if (folder / "added_tokens.json").is_file() else {}
    model = read_model(folder / "tokenizer.model")
    tokenizer = build_tokenizer(model, _added_tokens(folder, config, listed))
    vocab = tokenizer.get_vocab()
    named = {key: _content(config[key]) for key in _NAMED_TOKENS if config.get(key)}
    named = {key: token for key, token in named.items() if token in vocab}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, name_or_path=str(folder), clean_up_tokenization_spaces=False, **named
    )


def _added_tokens(folder: Path, config: Mapping[str, Any], listed: Mapping[str, Any]) -> dict[int, AddedToken]:
    """Added tokens by id. ``added_tokens.json`` holds names and ids; the tokenizer's config also their flags."""
    try:
        added = {int(index): AddedToken(token, normalized=False, special=True) for token, index in listed.items()}
        for index, entry in config.get("added_tokens_decoder", {}).items():
            flags = {
                flag: bool(entry.get(flag)) for flag in ("lstrip", "rstrip", "single_word", "normalized", "special")
            }
            added[int(index)] = AddedToken(entry["content"], **flags)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise EdgeError(f"{folder} lists unusable added tokens: {error}", "download it again") from None
    return added


def _content(token: Any) -> str:
    return str(token["content"] if isinstance(token, dict) else token)
