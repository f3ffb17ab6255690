"""Core AI assets: what `mlpackage` draws, as torch operators that Apple's converter lowers."""
