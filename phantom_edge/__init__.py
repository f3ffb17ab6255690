"""phantom-edge: Phantom vision-language models on phones and embedded boards, proved to answer right there."""

from phantom_edge.auto import register_with_transformers

__version__ = "0.1.0"

register_with_transformers()
