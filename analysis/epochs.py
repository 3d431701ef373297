"""`raysl.reports.epochs` as a command."""

from raysl.reports.command import execute
from raysl.reports.epochs import main

if __name__ == "__main__":
    execute(main)
