"""Several drivers on one results folder: leases, claims, and the items that they share."""
