"""`python -m raysl`: where the package is at hand and its command is not installed."""

from raysl.cli import main

main()
