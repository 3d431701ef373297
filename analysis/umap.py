"""`raysl.reports.umap` as a command."""

from raysl.reports.command import execute
from raysl.reports.umap import main

if __name__ == "__main__":
    execute(main)
