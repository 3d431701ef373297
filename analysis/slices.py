"""`raysl.reports.slices` as a command."""

from raysl.reports.command import execute
from raysl.reports.slices import main

if __name__ == "__main__":
    execute(main)
