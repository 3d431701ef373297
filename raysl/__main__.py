"""`python -m raysl`: where the package is at hand and its command is not installed."""

import sys

if not sys.flags.safe_path:
    del sys.path[0]  # the current directory, which Python looks through first: its files are no modules of raysl's

from raysl.cli import main

main()
