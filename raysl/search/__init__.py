"""Experiment -> the trials of a stage; selection over result rows.  Pure: no ray, no torch."""
