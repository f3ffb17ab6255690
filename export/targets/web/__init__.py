"""Target web: bundles for ONNX Runtime Web, in the forms of its engines."""
