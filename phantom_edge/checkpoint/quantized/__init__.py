"""The quantized format: schemes, integers and scales, and their files."""
