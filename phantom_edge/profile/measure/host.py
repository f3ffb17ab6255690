"""Profile a bundle on this machine."""

from functools import partial
from pathlib import Path

from phantom_edge.bundle.folder import Bundle
from phantom_edge.bundle.work import work_of
from phantom_edge.foundation.progress import Progress
from phantom_edge.profile.measure.lines import COUNTED, Gathering
from phantom_edge.profile.measure.machine import Watch, describe
from phantom_edge.profile.measure.operators import operators_of
from phantom_edge.profile.measure.stages import Measuring, Wish
from phantom_edge.profile.result import Energy, Run, Subject


def profile_here(path: Path, wish: Wish, begin: Progress) -> Run:
    """Measure everything; an interrupt in the middle leaves a partial run.

    Raises EdgeError for what is no bundle, and for wishes that it cannot grant.
    """
    bundle = Bundle.open(path, begin=partial(begin, "reading the bundle"))
    measuring = Measuring(bundle, wish, Gathering())
    gathering, step, partly = measuring.gathering, begin("measuring", measuring.steps), ""
    gathering.tell = lambda kind, _line: step(1) if kind in COUNTED else None
    try:
        measure(measuring)
    except KeyboardInterrupt:
        partly = "stopped before all was measured"
    return gathering.run(wish.repeats, partly)


def measure(measuring: Measuring) -> None:
    """All that there is, while the machine is watched."""
    gathering, wish = measuring.gathering, measuring.wish
    gathering.put("device", describe(wish.threads))
    gathering.put("subject", subject_of(measuring.bundle, wish.threads))
    gathering.put("steps", measuring.steps)
    watch = Watch(partial(gathering.put, "reading"))
    measuring.meter = watch.joules
    with watch.watching():
        idle = watch.idle_watts()
        measuring.measure()
    if wish.operators:
        gathering.put("operators", operators_of(measuring.bundle, wish.threads, measuring.depths))
    if measuring.joules is not None and measuring.tokens:
        gathering.put("energy", Energy(watch.source, measuring.joules, measuring.tokens, idle))
    gathering.put("end", 1)


def subject_of(bundle: Bundle, threads: int) -> Subject:
    """What runs."""
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
