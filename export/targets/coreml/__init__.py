"""Target coreml: ML programs for Apple's GPUs and Neural Engine."""
