"""Reports and figures from results folders alone: `uv run python -m analysis.NAME RESULTS_DIR [--out FOLDER]`.

They read the published tables and the test features, and import neither torch nor ray.
"""
