"""The quantized format: schemes, integers and scales, and how they lie on disk."""
