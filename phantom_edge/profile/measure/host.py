"""Profiles a bundle on this machine."""

from functools import partial
from pathlib import Path

from phantom_edge.bundle.folder import Bundle
from phantom_edge.bundle.work import work_of
from phantom_edge.foundation.progress import Progress
from phantom_edge.profile.measure.lines import COUNTED, STOPPED, Gathering
from phantom_edge.profile.measure.machine import Watch, describe
from phantom_edge.profile.measure.operators import operators_of
from phantom_edge.profile.measure.stages import Measuring, Wish
from phantom_edge.profile.result import Energy, Run, Subject


def profile_here(path: Path, wish: Wish, begin: Progress) -> Run:
    """Measures everything; an interrupt leaves a partial run, once anything was measured.

    Raises EdgeError for a folder that is no bundle, and for a wish that the bundle cannot meet.
    """
    bundle = Bundle.open(path, begin=partial(begin, "reading the bundle"))
    measuring = Measuring(bundle, wish, Gathering())
    gathering, step, partly = measuring.gathering, begin("measuring", measuring.steps), ""
    gathering.emit = lambda kind, _line: step(1) if kind in COUNTED else None
    try:
        measure(measuring)
    except KeyboardInterrupt:
        partly = STOPPED
    return gathering.run(wish.repeats, partly)


def measure(measuring: Measuring) -> None:
    """Measures all stages, and samples the machine meanwhile."""
    gathering, wish = measuring.gathering, measuring.wish
    gathering.record("device", describe(wish.threads))
    gathering.record("subject", subject_of(measuring.bundle, wish.threads))
    gathering.record("steps", measuring.steps)
    watch = Watch(partial(gathering.record, "reading"))
    measuring.meter = watch.joules
    with watch.watching():
        idle = watch.idle_watts()
        measuring.measure()
    if wish.operators:
        gathering.record("operators", operators_of(measuring.bundle, wish.threads, measuring.depths))
    if measuring.joules is not None and measuring.tokens:
        gathering.record("energy", Energy(watch.source, measuring.joules, measuring.tokens, idle))
    gathering.record("end", 1)


def subject_of(bundle: Bundle, threads: int) -> Subject:
    """Describes a bundle."""
    manifest, work = bundle.manifest, work_of(bundle.manifest)
    return Subject(
        bundle=bundle.path.name,
        seal=manifest.seal,
        target=manifest.target,
        model=manifest.model.name,
        fingerprint=manifest.model.fingerprint,
        weights="float" if manifest.integers is None else manifest.integers.recipe,
        threads=threads,
        vision_bytes=work.vision_bytes,
        decoder_bytes=work.decoder_bytes,
        cache_bytes_per_token=work.cache_bytes_per_token,
        vision_products=work.vision_products,
        decoder_products=work.decoder_products,
        tools=dict(manifest.tools),
    )
