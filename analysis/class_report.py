"""`raysl.reports.class_report` as a command."""

from raysl.reports.class_report import main
from raysl.reports.command import execute

if __name__ == "__main__":
    execute(main)
