"""`raysl.reports.audit` as a command."""

from raysl.reports.audit import main
from raysl.reports.command import execute

if __name__ == "__main__":
    execute(main)
