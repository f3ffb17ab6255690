"""Programs of target litert: shown in READMEs of bundles, and compiled and run by tests."""
