"""Which images: seeded permutations, splits and labelled subsets, and the batches of an epoch."""
