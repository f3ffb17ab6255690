"""Programs for the README of a bundle for ONNX Runtime Web."""
