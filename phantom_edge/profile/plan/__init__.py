"""Plans exports: predicts bundles for a device before any is exported."""
