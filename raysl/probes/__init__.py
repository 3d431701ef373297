"""Probes: measurements of frozen features."""
