"""Questions about pictures, answered by a model: the settings, and a stream of text with its timings."""

import copy
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Any

import torch
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    TextIteratorStreamer,
)

from phantom_edge.checkpoint.generation import carried
from phantom_edge.checkpoint.pretrained import PhantomForConditionalGeneration
from phantom_edge.foundation.errors import EdgeError, UsageError
from phantom_edge.models.config_file import read_config
from phantom_edge.models.hub import find_folder
from phantom_edge.processing.images import ImageSource
from phantom_edge.processing.processor import PhantomProcessor
from phantom_edge.processing.prompt import IMAGE_MARK
from phantom_edge.processing.token_ids import check_ids
from phantom_edge.runtime import sampling as runtime
from phantom_edge.runtime.constraints import all_banned


@dataclass(frozen=True)
class Sampling(runtime.Sampling):
    """Settings for the choice of the next token; the paper has 3 ``beams``."""

    beams: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.beams < 1:
            raise UsageError(f"--beams is {self.beams}", "give 1 (off) or more")

    def generation_config(self, model: PhantomForConditionalGeneration) -> GenerationConfig:
        """The same settings for transformers, with those that the checkpoint carries; see ``answering``."""
        own = carried(model.generation_config, model.config)
        settings = own.generation
        sample = self.temperature > 0
        chosen: dict[str, Any] = (
            {"temperature": self.temperature, "top_p": self.top_p, "top_k": self.top_k} if sample else {}
        )
        return GenerationConfig(
            max_new_tokens=self.max_new_tokens,
            do_sample=sample,
            num_beams=self.beams,
            eos_token_id=list(own.stop_tokens) or None,
            pad_token_id=_pad_id(model, own.stop_tokens),
            repetition_penalty=settings.repetition_penalty,
            no_repeat_ngram_size=settings.no_repeat_ngram,
            min_length=settings.min_length,
            min_new_tokens=settings.min_new_tokens or None,  # with 0, transformers would forget min_length
            suppress_tokens=list(settings.suppress_tokens) or None,
            begin_suppress_tokens=list(settings.begin_suppress_tokens) or None,
            **chosen,
        )


def answering(model: PhantomForConditionalGeneration) -> PhantomForConditionalGeneration:
    """The same model, weights and hooks shared, for ``generate`` with the settings of ``Sampling`` alone.

    transformers takes what a call leaves open from the model's own ``generation_config``: there, also the settings that
    do not count.
    """
    same = copy.copy(model)
    same.generation_config = GenerationConfig()
    return same


def _pad_id(model: PhantomForConditionalGeneration, stop_tokens: Sequence[int]) -> int | None:
    """Token that pads finished rows, generation_config.json first; any token serves, and a stop token best."""
    for pad in (model.generation_config.pad_token_id, model.config.pad_token_id, *stop_tokens):
        if pad is not None:
            return int(pad)
    return None


@dataclass
class Answer:
    """Result of a generation, complete when it ends."""

    text: str = ""
    tokens: int = 0
    prompt_tokens: int = 0
    seconds_to_first_token: float = 0.0
    seconds: float = 0.0
    stopped_by: str = "interrupted"

    @property
    def tokens_per_second(self) -> float:
        """Decode speed: tokens after the first over the time after the first; of beam search, all over all."""
        if self.seconds_to_first_token >= self.seconds:
            return self.tokens / self.seconds if self.seconds else 0.0
        return (self.tokens - 1) / (self.seconds - self.seconds_to_first_token)


@dataclass
class _Run:
    """State and result of the generating thread."""

    stop: Event = field(default_factory=Event)
    ids: torch.Tensor | None = None
    error: BaseException | None = None


class _Stop(StoppingCriteria):
    """Stops a generation whose reader has left."""

    def __init__(self, stop: Event) -> None:
        self.stop = stop

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        return torch.full((input_ids.shape[0],), self.stop.is_set(), device=input_ids.device, dtype=torch.bool)


class _Left(LogitsProcessor):
    """Raises EdgeError where the settings before it left no token; transformers would choose token 0."""

    def __call__(self, input_ids: torch.LongTensor, scores: torch.Tensor) -> torch.Tensor:
        if torch.isneginf(scores).all():
            raise all_banned()
        return scores


class _Clock(TextIteratorStreamer):
    """A text stream that records the time of the first token, and leaves out the token that ends the answer."""

    first: float | None = None
    is_prompt = True

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stop_tokens: Collection[int]) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self.stop_tokens = stop_tokens

    def put(self, value: torch.Tensor) -> None:
        if not self.is_prompt and self.first is None:
            self.first = time.perf_counter()
        if self.is_prompt or int(value) not in self.stop_tokens:
            super().put(value)
        self.is_prompt = False


def make_inputs(
    model: PhantomForConditionalGeneration, processor: PhantomProcessor, question: str, images: Sequence[ImageSource]
) -> dict[str, torch.Tensor]:
    """One user turn as tensors on the model's device. Pictures come first unless ``<image>`` marks place them.

    Raises EdgeError for an empty question, an unreadable picture, marks that do not match the pictures, a
    tokenizer that is larger than the model's vocabulary, or a prompt that is longer than the model's context.
    """
    if not question.strip():
        raise EdgeError("the question is empty", 'ask something, such as "What is in the picture?"')
    marks = "" if IMAGE_MARK in question else IMAGE_MARK * len(images)
    message = {"role": "user", "content": marks + question}
    text = processor.apply_chat_template([message], tokenize=False, add_generation_prompt=True)
    assert isinstance(text, str)
    inputs = processor(text=[text], images=tuple(images) or None, return_tensors="pt")
    ids = inputs["input_ids"]
    vocabulary, context = model.config.text.vocab_size, model.config.text.max_position_embeddings
    check_ids(ids[0].tolist(), vocabulary, processor.tokenizer.convert_ids_to_tokens)
    if ids.shape[1] >= context:
        raise EdgeError(
            f"the prompt has {ids.shape[1]} tokens, the model's context is {context}",
            "ask less, or give fewer pictures",
        )
    return {name: tensor.to(model.device) for name, tensor in inputs.items() if isinstance(tensor, torch.Tensor)}


def stream(
    model: PhantomForConditionalGeneration,
    processor: PhantomProcessor,
    question: str,
    images: Sequence[ImageSource] = (),
    sampling: Sampling | None = None,
    answer: Answer | None = None,
) -> Iterator[str]:
    """Yield the answer's text piece by piece; ``answer`` is filled when the stream ends.

    Beam search settles its words only at the end, so with ``beams`` above 1 the text comes in one piece. Closing
    the iterator early stops the generation.
    """
    sampling = sampling or Sampling()
    answer = answer if answer is not None else Answer()
    start = time.perf_counter()
    inputs = make_inputs(model, processor, question, images)
    answer.prompt_tokens = inputs["input_ids"].shape[1]
    stops = carried(model.generation_config, model.config).stop_tokens
    pieces = _Clock(processor.tokenizer, stops)
    run = _Run()
    worker = Thread(target=_generate, args=(model, inputs, sampling, pieces, run), daemon=True)
    worker.start()
    try:
        for piece in pieces:
            answer.text += piece
            if piece:
                yield piece
    finally:
        run.stop.set()
        worker.join()
        answer.seconds = time.perf_counter() - start
        answer.seconds_to_first_token = answer.seconds if pieces.first is None else pieces.first - start
    if run.error is not None:
        raise run.error
    assert run.ids is not None
    new = run.ids[0, answer.prompt_tokens :]
    answer.tokens = len(new)
    has_ended = int(new[-1]) in stops
    answer.stopped_by = "end of turn" if has_ended else "length"
    if sampling.beams > 1:
        answer.text = processor.tokenizer.decode(new[:-1] if has_ended else new, skip_special_tokens=True)
        yield answer.text


def _generate(
    model: PhantomForConditionalGeneration,
    inputs: dict[str, torch.Tensor],
    sampling: Sampling,
    pieces: _Clock,
    run: _Run,
) -> None:
    """Generate in a thread: an error is kept for the reader, and the stream always ends."""
    try:
        if sampling.seed is not None:
            torch.manual_seed(sampling.seed)
        run.ids = answering(model).generate(
            **inputs,
            generation_config=sampling.generation_config(model),
            streamer=pieces if sampling.beams == 1 else None,
            stopping_criteria=[_Stop(run.stop)],
            logits_processor=[_Left()],
        )
    except BaseException as error:  # handed to the reader, who raises it
        run.error = error
    finally:
        if run.error is not None or sampling.beams > 1:
            pieces.end()


def load(source: str, dtype: torch.dtype | None = None) -> tuple[PhantomForConditionalGeneration, PhantomProcessor]:
    """Model and processor of a checkpoint, ready to answer.

    ``dtype`` defaults to the weights' own.
    """
    folder = find_folder(source)
    read_config(folder)  # reports a model that is no Phantom before anything else
    processor = PhantomProcessor.from_pretrained(folder)
    model = PhantomForConditionalGeneration.from_pretrained(folder, dtype=dtype or "auto")
    return model.eval(), processor
