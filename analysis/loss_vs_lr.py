"""`raysl.reports.loss_vs_lr` as a command."""

from raysl.reports.command import execute
from raysl.reports.loss_vs_lr import main

if __name__ == "__main__":
    execute(main)
