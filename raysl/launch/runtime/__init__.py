"""What runs a trial: Ray Tune and Ray Train around it, the process that trains it, and its log."""
