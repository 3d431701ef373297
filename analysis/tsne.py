"""`raysl.reports.tsne` as a command."""

from raysl.reports.command import execute
from raysl.reports.tsne import main

if __name__ == "__main__":
    execute(main)
