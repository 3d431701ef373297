"""`raysl.reports.importance` as a command."""

from raysl.reports.command import execute
from raysl.reports.importance import main

if __name__ == "__main__":
    execute(main)
