"""What everything stands on: errors, whole files, staging, strict JSON, versions. Knows nothing of models."""
