"""From a checkpoint to a bundle."""

from collections.abc import Callable
from pathlib import Path

from phantom_edge import __version__
from phantom_edge.checkpoint.hub import find_folder
from phantom_edge.export.bundle.folder import Bundle, listing, write_manifest
from phantom_edge.export.bundle.manifest import Manifest, Model, Phantom, Pictures, Prompt
from phantom_edge.export.forms import Chosen, choose_forms
from phantom_edge.export.forms import Phantom as Wanted
from phantom_edge.export.settings import Progress, Settings
from phantom_edge.export.source import Source
from phantom_edge.export.targets import target_named
from phantom_edge.files import whole_folder
from phantom_edge.versions import installed

TOKENIZER, TEMPLATE = "tokenizer.json", "chat_template.jinja"


def export_bundle(
    model: str,
    target: str,
    out: Path,
    settings: Settings,
    *,
    force: bool = False,
    folded: Callable[[int, int], None] = lambda _done, _all: None,
    progress: Progress = lambda _part, _bytes: None,
) -> Bundle:
    """Write the bundle of ``model`` (folder, hub id, or nano) for ``target`` to ``out``, not yet verified.

    ``folded`` is told of layers, ``progress`` of bytes. Raises EdgeError for what the user can mend; ``out`` appears
    whole or not at all.
    """
    lower = target_named(target)
    source = Source.open(find_folder(model))
    layers = source.config.text.num_hidden_layers
    wanted = Wanted.parse(settings.phantom, settings.dtype)
    chosen = choose_forms(source, wanted, lambda done: folded(done, layers))
    weights = sum(tensor.bytes // tensor.dtype.itemsize for tensor in source.tensors.values()) * settings.dtype.itemsize
    with whole_folder(out, force=force, bytes_needed=weights) as folder:
        lowered = lower(source, chosen, settings, folder, progress)
        source.processor.tokenizer.backend_tokenizer.save(str(folder / TOKENIZER))
        (folder / TEMPLATE).write_text(source.processor.chat_template, encoding="utf-8")
        manifest = Manifest(
            schema_version=1,
            made_by=f"phantom-edge {__version__}",
            target=target,
            model=_model(model, source),
            parts=lowered.parts,
            embedding=lowered.embedding,
            cache=lowered.cache,
            pictures=_pictures(source, settings.max_tiles),
            prompt=_prompt(source),
            phantom=tuple(map(_phantom, chosen)),
            prefill_chunk=settings.prefill_chunk,
            tools={name: installed(name) or "unknown" for name in lowered.tools},
            files=listing(folder),
        )
        write_manifest(folder, manifest)
    return Bundle(out, manifest)


def _model(name: str, source: Source) -> Model:
    text = source.config.text
    return Model(
        name=name,
        fingerprint=source.fingerprint(),
        family=source.config.family,
        hidden_size=text.hidden_size,
        layers=text.num_hidden_layers,
        heads=text.num_attention_heads,
        kv_heads=text.num_key_value_heads,
        head_dim=text.head_dim,
        vocab_size=text.vocab_size,
        eta=text.eta,
    )


def _pictures(source: Source, max_tiles: int | None) -> Pictures:
    tiling = source.processor.image_processor.tiling
    return Pictures(
        tile_size=tiling.tile_size,
        min_tiles=tiling.min_tiles,
        max_tiles=tiling.max_tiles if max_tiles is None else max_tiles,
        thumbnail=tiling.thumbnail,
        mean=tuple(tiling.mean),
        std=tuple(tiling.std),
        tokens_per_tile=source.processor.tokens_per_tile,
    )


def _prompt(source: Source) -> Prompt:
    return Prompt(
        tokenizer=TOKENIZER,
        chat_template=TEMPLATE,
        first_token=source.first_token(),
        image_token=source.config.image_token_id,
        stop_tokens=source.stop_tokens(),
    )


def _phantom(chosen: Chosen) -> Phantom:
    bases, errors = chosen.form.bases, chosen.errors
    return Phantom(bases.key.rank, bases.value.rank, errors.logit, errors.value, chosen.is_proved)
