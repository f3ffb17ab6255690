"""``python -m phantom_edge``: the command line, where the script is not on the path."""

from phantom_edge.cli.start import main

if __name__ == "__main__":
    main()
