"""Run a bundle: numpy, Pillow, tokenizers, jinja2 and the target's own runtime; no torch, no transformers."""
