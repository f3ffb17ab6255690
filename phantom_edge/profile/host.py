"""Profile a bundle on this machine."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from phantom_edge import __version__
from phantom_edge.export.bundle.folder import Bundle
from phantom_edge.profile.machine import Watch, describe, joules
from phantom_edge.profile.result import Energy, Run, Subject
from phantom_edge.profile.stages import Measuring, Wish
from phantom_edge.profile.work import work_of

Begin = Callable[[str, int], Callable[[int], None]]
ENERGY = "RAPL: the processor's own counter"


def profile_here(path: Path, wish: Wish, begin: Begin) -> Run:
    """Measure everything; an interrupt in the middle leaves a partial run.

    Raises EdgeError for what is no bundle, and for wishes that it cannot grant.
    """
    bundle = Bundle.open(path, begin=partial(begin, "reading the bundle"))
    measuring = Measuring(bundle, wish)
    step = begin("measuring the machine", 1)
    device = describe(wish.threads)
    step(1)
    measuring.step = begin("measuring", measuring.steps)
    watch, partly = Watch(), ""
    used = joules()
    with watch.watching():
        try:
            measuring.measure()
        except KeyboardInterrupt:
            partly = "stopped before all was measured"
    now, found = joules(), measuring.found
    energy = None if used is None or now is None or not found.tokens else Energy(ENERGY, now - used, found.tokens)
    return Run(
        schema_version=1,
        made_by=f"phantom-edge {__version__}",
        when=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        device=device,
        subject=subject_of(bundle, wish.threads),
        repeats=wish.repeats,
        stages=tuple(found.stages),
        depths=tuple(found.depths),
        answers=tuple(found.answers),
        readings=tuple(watch.readings),
        peak_bytes=watch.peak_bytes,
        energy=energy,
        partial=partly,
    )


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
