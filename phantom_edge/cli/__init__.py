"""The command line: one verb, one file. Only here does the project speak to a person."""
