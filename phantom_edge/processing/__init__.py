"""From pictures and words to what the model reads. Import the modules: this file loads nothing."""
