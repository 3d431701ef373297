"""Statistics over seeds: paired tests, intervals and bootstraps; numbers in, numbers out."""
