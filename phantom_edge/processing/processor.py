"""Text and pictures to model inputs, and chats to prompts: transformers' processor for Phantom."""

import traceback
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from transformers import AutoProcessor, BatchFeature, PreTrainedTokenizerBase
from transformers.processing_utils import ProcessorMixin
from transformers.utils.chat_template_utils import get_json_schema

from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.json_file import read_json
from phantom_edge.models.config import PhantomConfig
from phantom_edge.models.hub import SMALL_FILES, find_folder
from phantom_edge.processing.chat_template import ChatTemplate, TemplateFault
from phantom_edge.processing.folder import read_settings
from phantom_edge.processing.image_processor import Images, PhantomImageProcessor, flatten
from phantom_edge.processing.images import ImageSource
from phantom_edge.processing.prompt import CHAT_TEMPLATES, IMAGE_MARK, STYLES, check_marks, expand, read_message
from phantom_edge.processing.template_process import reason
from phantom_edge.processing.tokenizer import check_single_tokens, fit_tokenizer, load_tokenizer

PROCESSOR_CONFIG = "processor_config.json"
CHAT_TEMPLATE = "chat_template.jinja"
PICTURE_SETTINGS = ("min_tiles", "max_tiles", "use_thumbnail")
PADDINGS = (True, False, "longest", "max_length", "do_not_pad")


class PhantomProcessor(ProcessorMixin):
    """Tokenizer, image processor and chat template of one model, saved and loaded together.

    ``tokens_per_tile`` image tokens stand for one tile (256 for 448 pixels, patches of 14 and pixel shuffle 0.5).
    The tokenizer is set to pad on the left. Raises EdgeError for a tokenizer without image tokens.
    """

    def __init__(
        self,
        image_processor: PhantomImageProcessor,
        tokenizer: PreTrainedTokenizerBase,
        chat_template: str | None = None,
        tokens_per_tile: int = 256,
    ) -> None:
        if tokens_per_tile < 1:
            raise EdgeError(f"tokens_per_tile is {tokens_per_tile}", "released models make 256 tokens of a tile")
        fit_tokenizer(tokenizer)
        super().__init__(image_processor, tokenizer, chat_template=chat_template)
        self.tokens_per_tile = tokens_per_tile

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        token: str | bool | None = None,
        revision: str | None = None,
        subfolder: str = "",
        **overrides: Any,
    ) -> "PhantomProcessor":
        """The processor of a folder or hub id: one that we saved, or an official Phantom with its tokenizer files.

        ``overrides`` are ``min_tiles``, ``max_tiles`` and ``use_thumbnail``. Code of the checkpoint is never run,
        whatever ``trust_remote_code`` is. Raises EdgeError for missing or damaged files and unknown overrides.
        """
        folder = find_folder(
            pretrained_model_name_or_path,
            SMALL_FILES,
            revision=revision,
            cache_dir=cache_dir,
            force_download=force_download,
            local_files_only=local_files_only,
            token=token,
            subfolder=subfolder,
        )
        settings = _picture_settings(overrides)
        tokenizer = load_tokenizer(folder)
        saved = read_json(folder / PROCESSOR_CONFIG) if (folder / PROCESSOR_CONFIG).is_file() else {}
        if saved.get("processor_class") == cls.__name__:
            return cls._from_saved(folder, saved, tokenizer, settings)
        return cls._from_model(folder, tokenizer, settings)

    @classmethod
    def _from_saved(
        cls, folder: Path, saved: dict[str, Any], tokenizer: PreTrainedTokenizerBase, overrides: dict[str, Any]
    ) -> "PhantomProcessor":
        try:
            image_processor = PhantomImageProcessor(**{**saved["image_processor"], **overrides})
            tokens_per_tile = int(saved["tokens_per_tile"])
            template = (folder / CHAT_TEMPLATE).read_text("utf-8") if (folder / CHAT_TEMPLATE).is_file() else None
        except (KeyError, TypeError, ValueError, OverflowError, OSError) as error:
            raise EdgeError(
                f"{folder / PROCESSOR_CONFIG} describes no processor: {error}", "convert the checkpoint again"
            ) from None
        return cls(image_processor, tokenizer, template, tokens_per_tile)

    @classmethod
    def _from_model(
        cls, folder: Path, tokenizer: PreTrainedTokenizerBase, overrides: dict[str, Any]
    ) -> "PhantomProcessor":
        settings = read_settings(folder)
        tiling = settings.tiling
        tiles = {"min_tiles": tiling.min_tiles, "max_tiles": tiling.max_tiles, "use_thumbnail": tiling.thumbnail}
        image_processor = PhantomImageProcessor(**{"size": tiling.tile_size, **tiles, **overrides})
        check_single_tokens(tokenizer, STYLES[settings.style].tokens)
        template = CHAT_TEMPLATES[settings.style]
        tokenizer.chat_template = template  # the language model's own has no pictures
        return cls(image_processor, tokenizer, template, settings.tokens_per_tile)

    def __call__(
        self,
        images: Images | None = None,
        text: str | Sequence[str] | None = None,
        *,
        padding: bool | str = True,
        max_length: int | None = None,
        return_tensors: str | None = None,
        return_offsets_mapping: bool = False,
        add_special_tokens: bool = False,
        videos: None = None,
        audio: None = None,
    ) -> BatchFeature:
        """Turns prompts with one ``<image>`` mark per picture into model inputs.

        ``images``: one picture, a flat list in the order of the marks, or one list per prompt.
        Returns ``input_ids`` and ``attention_mask`` (B, N), padded on the left, without BOS, and ``pixel_values``
        float32 (tiles, 3, S, S) if there are pictures: tensors for ``return_tensors="pt"`` or ``"np"``, else lists.
        ``max_length`` is the length for ``padding="max_length"`` and the limit of every prompt: nothing is cut off.
        Raises EdgeError when marks and pictures do not match, and for unreadable pictures.
        """
        if videos is not None or audio is not None:
            raise EdgeError("Phantom reads pictures and text only", "pass neither videos nor audio")
        if add_special_tokens:
            raise EdgeError(
                "a Phantom prompt has no BOS", "leave add_special_tokens out; the chat template writes all tokens"
            )
        if text is None:
            raise EdgeError("no text was given", "pass text=...; for pixels alone call processor.image_processor")
        prompts = [text] if isinstance(text, str) else list(text)
        pictures = _per_prompt(prompts, images)
        pixels: dict[str, Any] = {}
        tiles: list[int] = []
        if any(pictures):
            pixels = dict(self.image_processor([source for sources in pictures for source in sources]))
            tiles = pixels.pop("tiles_per_image")
        remaining = iter(tiles)
        expanded = [
            expand(prompt, list(islice(remaining, len(sources))), self.tokens_per_tile)
            for prompt, sources in zip(prompts, pictures, strict=True)
        ]
        tokens = self._tokenize(expanded, padding, max_length, return_offsets_mapping)
        if return_tensors and len(set(map(len, tokens["input_ids"]))) > 1:
            raise EdgeError("prompts of different lengths make no tensor", "pass padding=True")
        return BatchFeature({**tokens, **pixels}, tensor_type=return_tensors)

    def _tokenize(
        self, prompts: list[str], padding: bool | str, max_length: int | None, offsets: bool
    ) -> dict[str, list[list[int]]]:
        if padding not in PADDINGS or (padding == "max_length" and max_length is None):
            raise EdgeError(
                f"padding is {padding!r} and max_length {max_length}",
                "choose padding=True, False, or 'max_length' together with max_length=...",
            )
        tokens: dict[str, list[list[int]]] = self.tokenizer(
            prompts,
            add_special_tokens=False,
            padding=padding,
            max_length=max_length if padding == "max_length" else None,
            padding_side="left",
            return_token_type_ids=False,
            return_offsets_mapping=offsets,
        )
        longest = max(map(len, tokens["input_ids"]))
        if max_length is not None and longest > max_length:
            raise EdgeError(
                f"a prompt has {longest} tokens, more than max_length {max_length}",
                f"allow more, or fewer tiles ({self.tokens_per_tile} tokens each): image_processor.max_tiles = 1",
            )
        return dict(tokens)

    def apply_chat_template(
        self, conversation: Sequence[Any], chat_template: str | None = None, **options: Any
    ) -> str | list[str] | list[list[int]] | BatchFeature:
        """The prompt of a chat, or of each chat in a list; with ``tokenize=True, return_dict=True`` model inputs.

        Messages have a role and a content: text, or a list of ``{"type": "text", "text": ...}`` and
        ``{"type": "image", "image": path or Pillow image}``. ``options`` are those of transformers
        (``add_generation_prompt``, ``return_tensors``, ``processor_kwargs``, ...) and variables of the template. It is
        rendered in a process of its own, with limits; options that only transformers has (``ONLY_THERE``) are for this
        package's own templates.
        Raises EdgeError for messages that the template cannot write.
        """
        if chat_template is None and self.chat_template is None:
            names = " or ".join(f"CHAT_TEMPLATES['{name}']" for name in CHAT_TEMPLATES)
            raise EdgeError("this processor has no chat template", f"pass chat_template={names}")
        batched = bool(conversation) and isinstance(conversation[0], list | tuple)
        chats = list(conversation) if batched else [conversation]
        for chat in chats:
            if not chat:
                raise EdgeError("the conversation is empty", 'pass at least {"role": "user", "content": "..."}')
            for message in chat:
                read_message(message)
        try:
            text = self._resolve_chat_template(chat_template)
            only_there = sorted(name for name in ONLY_THERE if options.get(name))
            if not only_there:
                prompts = self._rendered(text, chats, options)
                chats = [_written(chat, prompt) for chat, prompt in zip(chats, prompts, strict=True)]
                options = {name: value for name, value in options.items() if name in PASSED_ON}
                conversation, text = chats if batched else chats[0], WRITTEN
            elif text not in CHAT_TEMPLATES.values():
                raise EdgeError(f"{only_there[0]} is for templates of this package", "leave it out")
            return super().apply_chat_template(conversation, text, **options)
        except Exception as error:  # a template raises what any program does
            if not isinstance(error, TemplateFault) and not _is_of_template(error):
                raise
            why = error if isinstance(error, TemplateFault) else reason(error)
            raise EdgeError(
                f"the chat template cannot write this conversation ({why})",
                "use plain messages, or another chat template",
            ) from error

    def _rendered(self, text: str, chats: list[Any], options: dict[str, Any]) -> list[str]:
        """Prompts of chats, by a process with limits."""
        template = ChatTemplate(text, self.tokenizer.special_tokens_map)
        known = (*PASSED_ON, *ONLY_THERE, "add_generation_prompt", "continue_final_message")
        variables = {name: value for name, value in options.items() if name not in known}
        if variables.get("tools") is not None:
            variables["tools"] = [
                tool if isinstance(tool, dict) else get_json_schema(tool) for tool in options["tools"]
            ]
        opens, key = bool(options.get("add_generation_prompt")), options.get("continue_final_message")
        if not key:
            return [template.render(chat, add_generation_prompt=opens, variables=variables) for chat in chats]
        if opens:
            raise EdgeError("a prompt cannot both continue a message and open one", "leave add_generation_prompt out")
        return [template.render_open(chat, "content" if key is True else key, variables) for chat in chats]


PASSED_ON = (
    *("tokenize", "return_tensors", "return_dict", "processor_kwargs"),
    *("padding", "max_length", "return_offsets_mapping", "add_special_tokens"),
)
"""Options of transformers that concern the tokens of a prompt, not its text; the last four are those of a call."""

ONLY_THERE = ("return_assistant_tokens_mask", "sanitize_control_tokens", "load_audio_from_video")
"""Options with which transformers renders a template itself, without limits."""

WRITTEN = "{{ messages[0]['prompt written'] }}"
"""Template of conversations whose prompts are written already."""


def _written(chat: Sequence[Any], prompt: str) -> list[Any]:
    """Returns a conversation with its prompt, as ``WRITTEN`` finds it."""
    return [{**chat[0], "prompt written": prompt}, *chat[1:]]


def _is_of_template(error: BaseException) -> bool:
    """True for an exception that came through jinja2, parsing or rendering."""
    frames = traceback.walk_tb(error.__traceback__)
    return any(str(frame.f_globals.get("__name__")).partition(".")[0] == "jinja2" for frame, _ in frames)


def _picture_settings(overrides: dict[str, Any]) -> dict[str, Any]:
    """Our settings among the overrides. Raises EdgeError for others, unless an Auto class or pipeline passed them."""
    from_transformers = any(key.startswith("_from_") for key in overrides)
    unknown = [key for key in overrides if key not in (*PICTURE_SETTINGS, "trust_remote_code")]
    if unknown and not from_transformers:
        raise EdgeError(
            f"a processor has no setting {', '.join(unknown)}", f"choose from {', '.join(PICTURE_SETTINGS)}"
        )
    return {key: value for key, value in overrides.items() if key in PICTURE_SETTINGS}


def _per_prompt(prompts: list[str], images: Images | None) -> list[list[ImageSource]]:
    """The pictures of each prompt. Raises EdgeError unless every mark has one."""
    if not prompts or not all(isinstance(prompt, str) for prompt in prompts):
        raise EdgeError("text is neither a string nor a list of strings", "pass text='...' or text=['...', '...']")
    nested = isinstance(images, list | tuple) and any(isinstance(inner, list | tuple) for inner in images)
    if nested:
        assert isinstance(images, list | tuple)
        if len(images) != len(prompts):
            raise EdgeError(f"{len(images)} lists of pictures for {len(prompts)} texts", "pass one list for each text")
        pictures = [flatten(inner) for inner in images]
    else:
        flat = [] if images is None else flatten(images)
        check_marks("".join(prompts), len(flat), "the texts together" if len(prompts) > 1 else "the text")
        pictures = []
        for prompt in prompts:
            marks = prompt.count(IMAGE_MARK)
            pictures.append(flat[:marks])
            flat = flat[marks:]
    for number, (prompt, sources) in enumerate(zip(prompts, pictures, strict=True), start=1):
        check_marks(prompt, len(sources), f"text {number}" if len(prompts) > 1 else "the text")
    return pictures


AutoProcessor.register(PhantomConfig, PhantomProcessor)
