"""`raysl.reports.loss_curves` as a command."""

from raysl.reports.command import execute
from raysl.reports.loss_curves import main

if __name__ == "__main__":
    execute(main)
