"""Target jetson: graphs for TensorRT, and the runner that builds its engines."""
