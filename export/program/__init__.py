"""ExecuTorch programs: the methods of a model as torch modules, lowered to one file."""
