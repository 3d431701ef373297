"""Coordination of several drivers on one results folder: leases, claims, and queues of shared items."""
