"""Reader of .tflite files: what they hold, and what their graphs compute without any rounding of activations."""
