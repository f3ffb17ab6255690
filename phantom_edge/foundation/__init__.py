"""The foundation: errors, whole files, staging, strict JSON, versions. Independent of models."""
