"""Programs that answer a question from a picture with a bundle, for a bundle's README: they need no phantom-edge."""
