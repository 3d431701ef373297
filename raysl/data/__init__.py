"""Data sets: encoded in Parquet, decoded once, drawn as seeded subsets, shown as views."""
