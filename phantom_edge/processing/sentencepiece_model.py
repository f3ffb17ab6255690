"""A SentencePiece BPE model file as a fast tokenizer, equal to SentencePiece letter by letter.

InternLM2 checkpoints ship only such a file and Python code of their own, which we never run. transformers' converter
needs two more packages and forgets the space that SentencePiece may put before a text, so the few fields that matter
are read here. Field numbers: ``sentencepiece_model.proto`` of google/sentencepiece.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers

from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.json_file import regular

SPACE = "\u2581"
"""Letter for a space inside pieces."""

BPE = 2
Field = int | bytes


class PieceKind(IntEnum):
    """Kind of a vocabulary entry."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True)
class Piece:
    """One vocabulary entry; its place in the list is its id."""

    text: str
    score: float
    kind: PieceKind


@dataclass(frozen=True)
class SentencePieceModel:
    """The part of a model file that determines how text is cut."""

    pieces: tuple[Piece, ...]
    algorithm: int
    charsmap: bytes
    adds_space: bool
    collapses_spaces: bool


def read_model(path: Path) -> SentencePieceModel:
    """Read a ``tokenizer.model`` file. Raises EdgeError when it is damaged or no BPE model."""
    try:
        model = _parse(regular(path).read_bytes())
    except (OSError, ValueError, LookupError, TypeError, struct.error) as error:
        raise EdgeError(f"{path} is not a SentencePiece model: {error}", "download this file again") from None
    if model.algorithm != BPE or not model.pieces:
        raise EdgeError(f"{path} is not a SentencePiece model of the BPE kind", "download this file again")
    return model


def build_tokenizer(model: SentencePieceModel, added: Mapping[int, AddedToken]) -> Tokenizer:
    """The fast tokenizer of a model, with the tokens that a checkpoint put over its pieces or behind them.

    Raises EdgeError if an added token cannot have the id that the checkpoint gives it.
    """
    texts = [added[index].content if index in added else piece.text for index, piece in enumerate(model.pieces)]
    vocab = {text: index for index, text in enumerate(texts)}
    unknown = next(
        (text for text, piece in zip(texts, model.pieces, strict=True) if piece.kind == PieceKind.UNKNOWN), None
    )
    has_bytes = any(piece.kind == PieceKind.BYTE for piece in model.pieces)
    tokenizer = Tokenizer(
        models.BPE(vocab, _merges(model, vocab), unk_token=unknown, fuse_unk=True, byte_fallback=has_bytes)
    )
    tokenizer.normalizer = _normalizer(model)
    tokenizer.decoder = _decoder(model)
    own = {
        index: AddedToken(piece.text, normalized=False, special=piece.kind == PieceKind.CONTROL)
        for index, piece in enumerate(model.pieces)
        if piece.kind in (PieceKind.CONTROL, PieceKind.USER_DEFINED)
    }
    for index, token in sorted({**own, **added}.items()):
        tokenizer.add_tokens([token])
        if tokenizer.token_to_id(token.content) != index:
            raise EdgeError(
                f"the added token {token.content} cannot have id {index} in this vocabulary",
                "download tokenizer.model and tokenizer_config.json again, from one checkpoint",
            )
    return tokenizer


def _merges(model: SentencePieceModel, vocab: Mapping[str, int]) -> list[tuple[str, str]]:
    """Every way to put a piece together from two others, the best-scored piece first."""
    ranked: list[tuple[float, int, int, str, str]] = []
    for piece in model.pieces:
        if piece.kind != PieceKind.NORMAL or piece.text not in vocab:
            continue
        for cut in range(1, len(piece.text)):
            left, right = piece.text[:cut], piece.text[cut:]
            if left in vocab and right in vocab:
                ranked.append((-piece.score, vocab[left], vocab[right], left, right))
    return [(left, right) for *_, left, right in sorted(ranked)]


def _normalizer(model: SentencePieceModel) -> normalizers.Normalizer:
    steps: list[normalizers.Normalizer] = []
    if model.charsmap:
        steps.append(normalizers.Precompiled(model.charsmap))
    if model.collapses_spaces:
        steps += [normalizers.Replace(Regex(r"\A +"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    if model.adds_space:
        steps.append(normalizers.Prepend(" "))
    steps.append(normalizers.Replace(" ", SPACE))
    if model.collapses_spaces:  # at the end SentencePiece's own letter for a space goes too
        steps.append(normalizers.Replace(Regex(SPACE + r"+\z"), ""))
    return normalizers.Sequence(steps)


def _decoder(model: SentencePieceModel) -> decoders.Decoder:
    steps: list[decoders.Decoder] = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if model.adds_space:
        steps.append(decoders.Strip(" ", 1, 0))
    return decoders.Sequence(steps)


def _parse(data: bytes) -> SentencePieceModel:
    pieces: list[Piece] = []
    trainer: dict[int, Field] = {}
    normalizer: dict[int, Field] = {}
    for number, value in _fields(data):
        if number == 1:
            pieces.append(_piece(dict(_fields(_message(value)))))
        elif number == 2:
            trainer = dict(_fields(_message(value)))
        elif number == 3:
            normalizer = dict(_fields(_message(value)))
    algorithm = trainer.get(3, 1)
    charsmap = normalizer.get(2, b"")
    return SentencePieceModel(
        tuple(pieces),
        algorithm if isinstance(algorithm, int) else 0,
        _message(charsmap),
        adds_space=bool(normalizer.get(3, 1)),
        collapses_spaces=bool(normalizer.get(4, 1)),
    )


def _piece(fields: Mapping[int, Field]) -> Piece:
    (score,) = struct.unpack("<f", _message(fields.get(2, bytes(4))))
    return Piece(_message(fields[1]).decode("utf-8"), score, PieceKind(int(fields.get(3, PieceKind.NORMAL))))


def _message(value: Field) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError("a number where a message belongs")
    return value


def _fields(data: bytes) -> Iterator[tuple[int, Field]]:
    """The fields of one protocol-buffer message, in order: varints as numbers, everything else as bytes."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, position = _varint(data, position)
            yield number, value
            continue
        if wire not in (1, 2, 5):
            raise ValueError(f"wire type {wire} at byte {position}")
        size = {1: 8, 5: 4}.get(wire, 0)
        if wire == 2:
            size, position = _varint(data, position)
        if position + size > len(data):
            raise ValueError(f"the file ends inside a field at byte {position}")
        yield number, data[position : position + size]
        position += size


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
