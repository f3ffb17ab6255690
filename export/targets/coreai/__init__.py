"""Target coreai, an experiment: assets for Core AI."""
