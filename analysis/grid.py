"""`raysl.reports.grid` as a command."""

from raysl.reports.command import execute
from raysl.reports.grid import main

if __name__ == "__main__":
    execute(main)
