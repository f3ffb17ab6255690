"""Target executorch: one program, and ExecuTorch, which runs it."""
