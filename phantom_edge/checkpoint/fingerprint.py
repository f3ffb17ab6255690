"""Fingerprint of a checkpoint."""

import hashlib
from pathlib import Path

from phantom_edge.foundation.files import sha256_of
from phantom_edge.foundation.progress import Counting, no_progress

SMALL = ("config.json", "quantization.json", "draft.json")
"""Files that define the meaning of the weights."""


def fingerprint(folder: Path, begin: Counting = no_progress) -> str:
    """SHA-256 over the config and the bytes of every file of weights; ``begin`` counts the bytes."""
    digest = hashlib.sha256()
    for name in SMALL:
        if (folder / name).is_file():
            digest.update((folder / name).read_bytes())
    files = sorted(folder.glob("*.safetensors"))
    step = begin(sum(file.stat().st_size for file in files))
    for file in files:
        digest.update(bytes.fromhex(sha256_of(file, step)))
    return digest.hexdigest()
