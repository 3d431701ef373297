"""The reports of `raysl.reports` as commands: `uv run python -m analysis.NAME RESULTS_DIR... [--out FOLDER]`."""
