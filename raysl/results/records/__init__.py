"""One small file for each fact: rows of trials, stages, selections, features, and their cache."""
