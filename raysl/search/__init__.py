"""Experiment -> the trials of a stage; selection from result rows.  Pure: no ray, no torch."""
